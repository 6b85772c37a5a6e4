from __future__ import annotations

import asyncio
import os
import signal
import smtplib
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from gateway.content import Inspected, inspect
from gateway.setting_values import HostPort, Listener
from gateway.settings import Settings
from gateway.smtp import replies, server
from gateway.smtp.server import Front, ListenError
from tests.gateway.smtp.running import HOST, MESSAGE, Client, MessageDouble, SuppressionDouble, running_front
from tests.support.ports import free_port
from tests.support.stores import sqlite_settings, sqlite_stores
from tests.support.waiting import until

PROGRAM = """
import sys
from gateway.setting_values import HostPort, Listener
from gateway.smtp.server import run
from pathlib import Path
from tests.support.stores import sqlite_stores, sqlite_settings
fields = {"listeners": (Listener(HostPort("127.0.0.1", int(sys.argv[2])), "lan"),), "min_free_bytes": 0}
stores = sqlite_stores(Path(sys.argv[1]), **fields)
run(sqlite_settings(Path(sys.argv[1]), **fields), stores)
stores.close()
print("ended")
"""


class TestDraining:
    def test_idle_clients_are_told_and_newcomers_are_not_let_in(self, front):
        with front.connect() as idle, front.connect() as greeted:
            greeted.say(b"EHLO c")
            drained = front.drain()
            assert idle.replies() == [replies.SHUTTING_DOWN]
            assert greeted.replies() == [replies.SHUTTING_DOWN]
            drained.result(20)
        assert refused(front.port)

    def test_open_transaction_is_finished_first(self, front):
        with front.connect() as client:
            client.begin()
            client.send(MESSAGE)
            drained = front.drain()
            with pytest.raises(TimeoutError):
                drained.result(0.3)
            assert client.say(b".").startswith("250 2.0.0 OK: queued as ")
            assert client.replies() == [replies.SHUTTING_DOWN]
        drained.result(20)
        assert len(front.messages.stored) == 1

    def test_who_was_just_answered_may_still_say_quit(self, front):
        """smtplib takes a 421 in reply to QUIT for a failure of the message that was accepted before."""
        with front.connect() as client:
            front.messages.hold = True
            client.begin()
            client.send(MESSAGE + b".\r\n")
            until(lambda: front.messages.held)
            drained = front.drain()
            front.messages.commit_held()
            assert client.reply().startswith("250 2.0.0")
            assert client.say(b"QUIT").startswith("221 ")
        drained.result(20)

    def test_but_no_new_transaction_is_begun(self, front):
        with front.connect() as client:
            client.say(b"EHLO c")
            drained = front.drain()
            until(lambda: refused(front.port))
            assert client.say(b"MAIL FROM:<a@b.test>") == replies.SHUTTING_DOWN
        drained.result(20)

    def test_commit_under_way_is_answered(self, front):
        with front.connect() as client:
            front.messages.hold = True
            client.begin()
            client.send(MESSAGE + b".\r\n")
            until(lambda: front.messages.held)
            drained = front.drain()
            front.messages.commit_held()
            assert [reply[:9] for reply in client.replies()] == ["250 2.0.0", "421 4.3.2"]
        drained.result(20)

    def test_transaction_that_does_not_end_is_ended(self, tmp_path):
        with running_front(tmp_path, drain_timeout=timedelta(seconds=0.3)) as front, front.connect() as client:
            client.begin()
            front.drain().result(20)
            assert client.replies() == []

    def test_a_client_that_waits_before_its_next_command_is_told_so(self, tmp_path):
        with running_front(tmp_path, drain_timeout=timedelta(seconds=0.3)) as front, front.connect() as client:
            client.say(b"EHLO c")
            client.say(b"MAIL FROM:<a@b.test>")
            front.drain().result(20)
            assert client.replies() == [replies.SHUTTING_DOWN]

    def test_whoever_has_sent_its_dot_is_answered_although_the_time_for_others_is_over(self, tmp_path):
        times = {"drain_timeout": timedelta(seconds=4), "gate_timeout": timedelta(seconds=3)}
        with running_front(tmp_path, **times) as front, front.connect() as slow, front.connect() as client:
            front.messages.hold = True
            slow.begin()
            client.begin()
            client.send(MESSAGE + b".\r\n")
            until(lambda: front.messages.held)
            drained = front.drain()
            assert slow.replies() == []
            front.messages.commit_held()
            assert client.reply().startswith("250 2.0.0")
            assert client.say(b"QUIT").startswith("221 ")
            drained.result(20)


class TestListening:
    def test_port_of_another_program_is_one_sentence(self, tmp_path):
        async def start(port: int) -> None:
            listeners = (Listener(HostPort(HOST, 0), "lan"), Listener(HostPort(HOST, port), "lan"))
            settings = Settings(listeners=listeners, data_dir=tmp_path)
            await Front(settings, MessageDouble(), SuppressionDouble()).start()

        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ListenError, match=rf"^The SMTP front cannot listen on 127\.0\.0\.1:{port}: .+\.$"):
                asyncio.run(start(port))

    def test_two_fronts_share_a_port_and_one_may_go(self, tmp_path):
        async def share() -> None:
            def front(port: int) -> Front:
                listener = Listener(HostPort(HOST, port), "lan")
                settings = Settings(listeners=(listener,), data_dir=tmp_path, min_free_bytes=0)
                return Front(settings, MessageDouble(), SuppressionDouble())

            first = front(0)
            [address] = await first.start()
            second = front(address.port)
            await second.start()
            await first.drain()

            def send() -> None:
                with smtplib.SMTP(HOST, address.port) as smtp:
                    smtp.sendmail("a@b.test", ["c@d.test"], MESSAGE)

            await asyncio.to_thread(send)
            await second.drain()

        asyncio.run(share())

    def test_ipv6_clients_are_known_by_their_address(self, tmp_path):
        messages = MessageDouble()

        async def deliver() -> None:
            settings = Settings(listeners=(Listener(HostPort("::1", 0), "lan"),), data_dir=tmp_path, min_free_bytes=0)
            front = Front(settings, messages, SuppressionDouble())
            [address] = await front.start()
            assert str(address) == f"[::1]:{address.port}"

            def send() -> None:
                with smtplib.SMTP("::1", address.port) as smtp:
                    smtp.sendmail("a@b.test", ["c@d.test"], MESSAGE)

            await asyncio.to_thread(send)
            await front.drain()

        asyncio.run(deliver())
        assert messages.envelopes[0].origin.client_address == "::1"


class TestProgram:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_drains_and_ends(self, tmp_path, number):
        port = free_port()
        process = start_program(tmp_path, port)
        try:
            client = until(lambda: greeted(port, process), what="the banner")
            assert client.mail(MESSAGE).startswith("250 ")
            client.begin()
            process.send_signal(number)
            until(lambda: refused(port), what="no more connections")
            assert client.say(MESSAGE + b".").startswith("250 ")
            assert client.replies() == [replies.SHUTTING_DOWN]
            client.close()
            assert process.communicate(timeout=30)[0].endswith("ended\n")
            assert process.returncode == 0
        finally:
            process.kill()
            process.communicate()
        assert stored(tmp_path) == 2

    def test_second_signal_ends_the_waiting(self, tmp_path):
        port = free_port()
        process = start_program(tmp_path, port)
        try:
            client = until(lambda: greeted(port, process), what="the banner")
            client.begin()
            process.send_signal(signal.SIGTERM)
            until(lambda: refused(port), what="no more connections")
            process.send_signal(signal.SIGTERM)
            assert client.replies() == []
            client.close()
            assert process.communicate(timeout=30)[0].endswith("ended\n")
        finally:
            process.kill()
            process.communicate()


class TestRealStores:
    def test_accepted_message_is_in_the_database_with_its_recipients(self, tmp_path):
        stores = sqlite_stores(tmp_path)
        try:
            with running_front(tmp_path, messages=stores.messages, suppressions=stores.suppressions) as front:
                with front.connect() as client:
                    ulid = client.mail(MESSAGE, b"bob@example.net", b"eve@example.net").rpartition(" ")[2]
                detail = stores.messages.show(ulid)
            assert detail is not None
            assert detail.summary.subject == "Hello"
            assert [recipient.address for recipient in detail.recipients] == ["bob@example.net", "eve@example.net"]
        finally:
            stores.close()

    def test_closed_store_is_451(self, tmp_path):
        stores = sqlite_stores(tmp_path)
        doubles = {"messages": stores.messages, "suppressions": SuppressionDouble()}
        with running_front(tmp_path, **doubles) as front, front.connect() as client:
            client.begin()
            stores.close()
            assert client.say(MESSAGE + b".") == replies.STORE_UNAVAILABLE

    def test_shut_write_gate_is_451_and_nothing_is_kept(self, tmp_path):
        stores = sqlite_stores(tmp_path)
        values = {"gate_timeout": timedelta(milliseconds=200)}
        try:
            with (
                running_front(tmp_path, messages=stores.messages, suppressions=stores.suppressions, **values) as front,
                front.connect() as client,
            ):
                with stores.db.exclusive():
                    assert client.mail(MESSAGE) == replies.STORE_UNAVAILABLE
                assert client.mail(MESSAGE).startswith("250 ")
            assert stored(tmp_path) == 1
        finally:
            stores.close()

    def test_clients_that_reset_before_a_shut_write_gate_leave_nothing_behind(self, tmp_path):
        stores = sqlite_stores(tmp_path)
        doubles = {"messages": stores.messages, "suppressions": SuppressionDouble()}
        try:
            with running_front(tmp_path, **doubles) as front, front.connect() as patient:
                with stores.db.exclusive():
                    waiting = stores.db._writer._waiting
                    for number in range(3):
                        client = front.connect()
                        client.begin()
                        client.send(MESSAGE + b".\r\n")
                        until(lambda number=number: len(waiting) > number)
                        reset(client)
                    until(lambda: all(work.cancelled() for work in waiting))
                assert patient.mail(MESSAGE).startswith("250 ")
            assert stored(tmp_path) == 1
        finally:
            stores.close()


@pytest.mark.parametrize(("trusted", "warned"), [("127.0.0.0/8", False), ("10.0.0.0/8", True)])
def test_start_says_who_may_relay_from_outside(tmp_path, monkeypatch, trusted, warned):
    log = CapturingLogger()
    monkeypatch.setattr(server, "log", log)
    wildcard = (Listener(HostPort("0.0.0.0", 0), "lan"),)
    settings = Settings(listeners=wildcard, trusted_networks=(ip_network(trusted),), data_dir=tmp_path)

    async def start_and_stop():
        front = Front(settings, MessageDouble(), SuppressionDouble())
        await front.start()
        await front.drain()

    asyncio.run(start_and_stop())
    said = [call.kwargs["reason"] for call in log.calls if call.args == ("smtp.relay_open",)]
    assert ["Every client in 10.0.0.0/8 may send" in reason for reason in said] == [True] * warned


def test_slow_inspections_do_not_keep_the_disk_check_waiting(tmp_path, monkeypatch):
    """Every MAIL waits for that check; without a thread of its own it would stand behind them."""
    go_on = threading.Event()
    begun: list[bytes] = []

    def inspect_slowly(content: bytes, *, refuse_bare_lf: bool, refold_header: bool) -> Inspected:
        begun.append(content[:1])
        go_on.wait(60)
        return inspect(content, refuse_bare_lf=refuse_bare_lf, refold_header=refold_header)

    monkeypatch.setattr("gateway.smtp.handler.inspect", inspect_slowly)
    monkeypatch.setattr("gateway.smtp.disk._CHECK_EVERY", 0)
    large = MESSAGE + b"x" * 70 + (b"\r\n" + b"x" * 70) * 5000 + b"\r\n."
    with running_front(tmp_path) as front, front.connect() as one, front.connect() as other, front.connect() as third:
        try:
            for client in (one, other):
                client.begin()
                client.send(large + b"\r\n")
            until(lambda: len(begun) == 2)
            third.say(b"EHLO c")
            assert third.say(b"MAIL FROM:<a@b.test>") == replies.SENDER_OK
        finally:
            go_on.set()
        assert [client.reply()[:4] for client in (one, other)] == ["250 "] * 2


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def start_program(directory: Path, port: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory), str(port)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def greeted(port: int, process: subprocess.Popen[str]) -> Client | None:
    assert process.poll() is None
    try:
        client = Client(port)
    except ConnectionRefusedError:
        return None
    assert client.reply().startswith("220 ")
    return client


def refused(port: int) -> bool:
    try:
        Client(port).close()
    except ConnectionError:
        return True
    return False


def stored(directory: Path) -> int:
    with sqlite3.connect(sqlite_settings(directory).database.removeprefix("sqlite:///")) as connection:
        count: int = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
    connection.close()
    return count
