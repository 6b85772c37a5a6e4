"""What one client sends never takes the memory, the time or the places of the others."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from contextlib import suppress
from ipaddress import ip_network

import pytest

from gateway.smtp import replies
from gateway.smtp.limits import Limits, within_descriptors
from tests.gateway.smtp.admitting import LOOPBACK, from_afar
from tests.gateway.smtp.running import HOST, MESSAGE, Client, running_front
from tests.support.waiting import until

MEBIBYTE = 1024 * 1024


@pytest.fixture
def peak_memory():
    """Octets that Python had allocated at most since the test began."""
    tracemalloc.start(1)
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_content_without_a_line_end_takes_no_more_memory_than_its_limit(tmp_path, peak_memory):
    values = {"max_message_bytes": 4 * MEBIBYTE, "limits": Limits(linger=0.2)}
    with running_front(tmp_path, **values) as front, front.connect() as client:
        client.begin()
        block = b"A" * MEBIBYTE
        with suppress(ConnectionError):
            for _ in range(100):
                client.send(block)
        assert peak_memory() < 9.5 * MEBIBYTE  # the content up to its limit, growing, and the block of the client
        until(lambda: front.connections == 0, what="the endless client to be left")


def test_oversize_content_within_twice_the_limit_is_answered_at_its_end(tmp_path):
    with running_front(tmp_path, max_message_bytes=MEBIBYTE) as front, front.connect() as client:
        assert client.mail(MESSAGE + b"x" * 70 * 20_000 + b"\r\n") == replies.TOO_LARGE
        assert client.mail(MESSAGE).startswith("250 ")


def test_content_beyond_twice_the_limit_is_told_so_and_left(tmp_path):
    with running_front(tmp_path, max_message_bytes=MEBIBYTE) as front, front.connect() as client:
        client.begin()
        client.send(b"x" * (2 * MEBIBYTE + 100_000))
        assert client.replies() == [replies.TOO_LARGE]


def test_millions_of_empty_lines_are_content_like_any_other(front, client, peak_memory):
    content = MESSAGE + b"\r\n" * (4 * MEBIBYTE)
    assert client.mail(content).startswith("250 ")
    assert front.messages.envelopes[0].content == content
    assert peak_memory() < 8 * len(content)


def test_others_are_served_while_large_content_arrives(front):
    with front.connect() as large, front.connect() as small:
        large.begin()
        for _ in range(20):
            large.send((b"x" * 70 + b"\r\n") * 10_000)
            assert small.say(b"NOOP") == replies.OK
        assert small.mail(MESSAGE).startswith("250 ")


def test_large_contents_wait_for_a_place_and_are_all_accepted(tmp_path):
    limits = Limits(large_octets=10_000, large_contents=1)
    with running_front(tmp_path, limits=limits) as front:
        answers: list[str] = []

        def deliver() -> None:
            with front.connect() as client:
                answers.append(client.mail(MESSAGE + (b"y" * 70 + b"\r\n") * 10_000))

        threads = [threading.Thread(target=deliver) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(answers) == 4
        assert all(answer.startswith("250 ") for answer in answers)


def test_large_content_that_finds_no_place_is_for_later(tmp_path):
    limits = Limits(large_octets=10_000, large_contents=1, large_wait=0.1)
    with running_front(tmp_path, limits=limits) as front, front.connect() as first, front.connect() as second:
        large = MESSAGE + (b"y" * 70 + b"\r\n") * 10_000
        front.messages.hold = True
        first.begin()
        first.send(large + b".\r\n")
        until(lambda: front.messages.held)
        second.begin()
        second.send(large)
        assert second.reply() == replies.NO_PLACE_FOR_LARGE
        front.messages.commit_held()
        assert first.reply().startswith("250 ")


def test_one_client_with_large_contents_leaves_a_place_for_another(tmp_path):
    limits = Limits(large_octets=10_000, large_contents=3, large_contents_per_client=2, large_wait=10)
    large = MESSAGE + (b"y" * 70 + b"\r\n") * 10_000
    with running_front(tmp_path, limits=limits) as front:
        slow = [front.connect() for _ in range(4)]
        for client in slow:
            client.begin()
            client.send(large)
        with Client(front.port, source="127.0.0.7") as other:
            other.reply()
            assert other.mail(large).startswith("250 ")
        for client in slow:
            client.send(b".\r\n")
        for client in slow:
            assert client.reply().startswith("250 ")
            client.close()


def test_connections_beyond_the_limit_are_told_to_come_later(tmp_path):
    with running_front(tmp_path, limits=Limits(connections=5)) as front:
        clients = [front.connect() for _ in range(5)]
        for client in clients:
            assert client.begin().startswith("354 ")
        with Client(front.port) as late:
            assert late.replies() == [replies.TOO_MANY_CONNECTIONS]
        clients.pop().close()
        until(lambda: front.connections == 4)
        with front.connect() as client:
            assert client.mail(MESSAGE).startswith("250 ")
        for client in clients:
            client.close()


def test_whoever_was_silent_for_the_longest_time_makes_room(tmp_path):
    with running_front(tmp_path, limits=Limits(connections=3)) as front:
        busy, silent, other = (front.connect() for _ in range(3))
        busy.begin()
        other.say(b"NOOP")
        with front.connect() as newcomer:
            assert newcomer.mail(MESSAGE).startswith("250 ")
            assert silent.replies() == [replies.MAKING_ROOM]
            assert other.say(b"NOOP") == replies.OK
            assert busy.say(MESSAGE + b".").startswith("250 ")
        for client in (busy, silent, other):
            client.close()


def test_a_stranger_keeps_no_place_by_a_transaction_that_comes_to_nothing(tmp_path):
    limits = Limits(strangers=2, strangers_per_client=2)
    with running_front(tmp_path, limits=limits, proxy_networks=LOOPBACK) as front:
        idle = [from_afar(front, "192.0.2.7") for _ in range(2)]
        for client in idle:
            assert client.say(b"HELO stranger.example").startswith("250 ")
            assert client.say(b"MAIL FROM:<a@b.example>").startswith("250 ")
        with from_afar(front, "192.0.2.8") as newcomer:
            assert newcomer.say(b"NOOP") == replies.OK
        for client in idle:
            client.close()


def test_flood_of_one_client_leaves_places_for_another(tmp_path):
    limits = Limits(connections=60)
    with running_front(tmp_path, limits=limits) as front:
        flood = [socket.create_connection((HOST, front.port), source_address=("127.0.0.7", 0)) for _ in range(200)]
        with front.connect() as client:
            assert client.mail(MESSAGE).startswith("250 ")
        for connection in flood:
            connection.close()
        until(lambda: front.connections == 0)


def test_strangers_never_take_the_places_of_trusted_clients(tmp_path):
    limits = Limits(connections=3, strangers=6)
    trusted = (ip_network("127.0.0.1"),)
    with running_front(tmp_path, limits=limits, trusted_networks=trusted) as front:
        clients = [front.connect() for _ in range(3)]
        for client in clients:
            assert client.begin().startswith("354 ")
        strangers = [Client(front.port, f"127.0.1.{host}") for host in range(6) for _ in range(2)]
        until(lambda: front.connections == 9)
        assert strangers[-1].reply().startswith("220 ")
        for client in clients:
            assert client.say(MESSAGE + b".").startswith("250 ")
        for client in strangers + clients:
            client.close()
        until(lambda: front.connections == 0)


def test_one_client_from_elsewhere_leaves_places_for_others(tmp_path):
    limits = Limits(strangers=4, strangers_per_client=3)
    with running_front(tmp_path, limits=limits, proxy_networks=LOOPBACK) as front:
        flood = [Client(front.port) for _ in range(10)]
        for client in flood:
            client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n")
        assert sorted(client.reply()[:3] for client in flood) == ["220"] * 3 + ["421"] * 7
        with from_afar(front, "192.0.2.8") as other:
            assert other.say(b"NOOP") == replies.OK
        for client in flood:
            client.close()
        until(lambda: front.connections == 0)
        from_afar(front, "192.0.2.7").close()


def test_this_machine_may_have_every_place(tmp_path):
    limits = Limits(connections=30, connections_per_client=2)
    with running_front(tmp_path, limits=limits) as front:
        clients = [front.connect() for _ in range(30)]
        assert front.connections == 30
        for client in clients:
            client.close()


def test_a_session_has_so_many_messages(tmp_path):
    with running_front(tmp_path, limits=Limits(messages=2)) as front, front.connect() as client:
        for _ in range(2):
            assert client.mail(MESSAGE).startswith("250 ")
        client.send(b"MAIL FROM:<a@b.test>\r\n")
        assert client.replies() == ["421 4.3.2 This session has sent 2 messages; connect again to send more"]


def test_a_session_ends_some_day(tmp_path):
    with running_front(tmp_path, limits=Limits(session=-1)) as front, front.connect() as client:
        client.say(b"EHLO c")
        client.send(b"MAIL FROM:<a@b.test>\r\n")
        assert client.replies() == [replies.SESSION_TOO_OLD]


def test_octets_in_flight_are_bounded_over_all_sessions(tmp_path):
    limits = Limits(octets_in_flight=0)  # then there is room for two of the largest messages
    content = MESSAGE + (b"y" * 70 + b"\r\n") * 4_000
    with running_front(tmp_path, limits=limits, max_message_bytes=300_000) as front:
        first, second, third = (front.connect() for _ in range(3))
        front.messages.hold = True
        for number, client in enumerate((first, second), 1):
            client.begin()
            client.send(content + b".\r\n")
            until(lambda number=number: len(front.messages.held) == number)
        assert third.mail(content) == replies.TOO_MUCH_IN_FLIGHT
        front.messages.hold = False
        front.messages.commit_held()
        for client in (first, second):
            assert client.reply().startswith("250 ")
        assert third.mail(content).startswith("250 ")
        for client in (first, second, third):
            client.close()


@pytest.mark.parametrize(
    ("descriptors", "connections", "strangers"), [(65536, 500, 100), (1024, 500, 100), (256, 107, 21), (4, 1, 1)]
)
def test_connections_are_no_more_than_there_can_be_open_files(descriptors, connections, strangers):
    limits = within_descriptors(Limits(), descriptors)
    assert (limits.connections, limits.strangers) == (connections, strangers)
