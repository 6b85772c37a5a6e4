"""A client may go away at any moment: the message is stored whole or not at all, and the front takes no harm."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
import uvloop

from gateway.smtp import replies
from gateway.smtp.limits import Limits
from tests.gateway.smtp.running import MESSAGE, Client, running_front
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_half_closed_client_gets_its_reply(tmp_path, loop_factory):
    with running_front(tmp_path, loop_factory=loop_factory) as front, front.connect() as client:
        front.messages.hold = True
        client.begin()
        client.send(MESSAGE + b".\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        until(lambda: front.messages.held)
        front.messages.commit_held()
        assert [reply[:9] for reply in client.replies()] == ["250 2.0.0"]
        assert front.messages.envelopes[0].content == MESSAGE


def test_reset_after_the_dot_stops_a_commit_that_has_begun_no_more(tmp_path, loop_factory):
    with running_front(tmp_path, loop_factory=loop_factory) as front:
        front.messages.hold = True
        client = front.connect()
        client.begin()
        client.send(MESSAGE + b".\r\n")
        until(lambda: front.messages.held)
        assert front.messages.held[0][0].set_running_or_notify_cancel()
        reset(client)
        until(lambda: front.connections == 0)
        front.messages.commit_held()
        assert front.messages.envelopes[0].content == MESSAGE


def test_reset_calls_off_a_commit_that_has_not_begun(tmp_path, loop_factory):
    with running_front(tmp_path, loop_factory=loop_factory) as front:
        front.messages.hold = True
        for _ in range(3):
            client = front.connect()
            client.begin()
            number = len(front.messages.held)
            client.send(MESSAGE + b".\r\n")
            until(lambda number=number: len(front.messages.held) > number)
            reset(client)
        until(lambda: all(future.cancelled() for future, *_ in front.messages.held))
        front.messages.commit_held()
        assert front.messages.stored == []


def test_large_content_keeps_its_place_while_it_is_committed_for_nobody(tmp_path, loop_factory):
    limits = Limits(large_octets=10_000, large_contents=1, large_wait=0.1)
    large = MESSAGE + (b"y" * 70 + b"\r\n") * 10_000
    with running_front(tmp_path, loop_factory=loop_factory, limits=limits) as front:
        front.messages.hold = True
        client = front.connect()
        client.begin()
        client.send(large + b".\r\n")
        until(lambda: front.messages.held)
        assert front.messages.held[0][0].set_running_or_notify_cancel()
        reset(client)
        until(lambda: front.connections == 0)
        with front.connect() as second:
            second.begin()
            second.send(large)
            assert second.reply() == replies.NO_PLACE_FOR_LARGE
        front.messages.commit_held()
        front.messages.hold = False
        with front.connect() as third:
            assert third.mail(large).startswith("250 ")


def test_large_content_of_a_commit_that_was_called_off_gives_its_place_back(tmp_path, loop_factory):
    limits = Limits(large_octets=10_000, large_contents=1, large_wait=5)
    large = MESSAGE + (b"y" * 70 + b"\r\n") * 10_000
    with running_front(tmp_path, loop_factory=loop_factory, limits=limits) as front:
        front.messages.hold = True
        client = front.connect()
        client.begin()
        client.send(large + b".\r\n")
        until(lambda: front.messages.held)
        reset(client)
        until(front.messages.held[0][0].cancelled)
        front.messages.hold = False
        with front.connect() as other:
            assert other.mail(large).startswith("250 ")


def test_store_failure_after_the_client_went_away_is_nobodys_traceback(tmp_path, loop_factory):
    with running_front(tmp_path, loop_factory=loop_factory) as front:
        front.messages.hold = True
        client = front.connect()
        client.begin()
        client.send(MESSAGE + b".\r\n")
        until(lambda: front.messages.held)
        assert front.messages.held[0][0].set_running_or_notify_cancel()
        reset(client)
        until(lambda: front.connections == 0)
        front.messages.held[0][0].set_exception(RuntimeError("disk"))


def test_quit_sent_with_the_dot_is_answered_after_the_commit(tmp_path, loop_factory):
    with running_front(tmp_path, loop_factory=loop_factory) as front, front.connect() as client:
        client.begin()
        client.send(MESSAGE + b".\r\nQUIT\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert [reply[:9] for reply in client.replies()] == ["250 2.0.0", "221 2.0.0"]


@pytest.mark.parametrize(
    "said",
    [b"", b"EHLO", b"EHLO c\r\n", b"EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDA"],
)
@pytest.mark.parametrize("leave", [Client.close, reset])
def test_client_that_leaves_among_commands_is_forgotten(tmp_path, loop_factory, said, leave):
    with running_front(tmp_path, loop_factory=loop_factory) as front:
        client = front.connect()
        client.send(said)
        leave(client)
        until(lambda: front.connections == 0)


@pytest.mark.parametrize("leave", [Client.close, reset])
def test_client_that_leaves_in_its_content_has_sent_nothing(tmp_path, loop_factory, leave):
    with running_front(tmp_path, loop_factory=loop_factory) as front:
        client = front.connect()
        client.begin()
        client.send(MESSAGE + b".\r")
        leave(client)
        until(lambda: front.connections == 0)
        assert front.messages.stored == []


def test_many_that_leave_with_the_dot_are_stored_whole_or_not_at_all(tmp_path, loop_factory):
    with running_front(tmp_path, loop_factory=loop_factory) as front:
        for number in range(60):
            client = front.connect()
            client.begin()
            client.send(MESSAGE + b".\r\n" + b"QUIT\r\n" * (number % 2))
            (reset if number % 3 else Client.close)(client)
        until(lambda: front.connections == 0)
        assert {envelope.content for envelope in front.messages.envelopes} <= {MESSAGE}
        with front.connect() as client:
            assert client.mail(MESSAGE).startswith("250 ")
