"""Two fronts, three workers and two webhooks over one PostgreSQL, under load, while each is restarted in turn.

    make chaos                       # five minutes
    CHAOS_SECONDS=60 make chaos

The ledger of the clients is held against what the simulated SES accepted.
"""

from __future__ import annotations

import os
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

import pytest

from tests.support.by_hand import ByHand
from tests.support.installation import mail
from tests.support.postgres import Postgres
from tests.support.sandbox import free_port
from tests.support.waiting import until

SECONDS = float(os.environ.get("CHAOS_SECONDS", "300"))
CLIENTS = 4
MAILS_PER_SECOND = 40
BETWEEN_RESTARTS = 5.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 600)]


@dataclass
class Ledger:
    """What the clients know: each address is tried once, so more than one copy is ours."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)  # answered 4xx
    without_reply: set[str] = field(default_factory=set)
    refused_connections: int = 0
    permanent: dict[str, str] = field(default_factory=dict)  # answered 5xx
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client(threading.Thread):
    """Sends mails one after the other, each on a connection of its own, until it is told to stop."""

    def __init__(self, port: int, ledger: Ledger, addresses: Iterator[str], stopping: threading.Event) -> None:
        super().__init__(name="client")
        self._port, self._ledger, self._addresses, self._stopping = port, ledger, addresses, stopping

    def run(self) -> None:
        while not self._stopping.wait(CLIENTS / MAILS_PER_SECOND):
            with self._ledger.lock:
                address = next(self._addresses)
            self._send(address)

    def _send(self, address: str) -> None:
        ledger, final = self._ledger, False
        try:
            # As an application does it: an error at QUIT, too, makes it believe that the mail was not taken.
            with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client:
                client.ehlo("client.example.com")
                replies = [client.mail("app@example.com"), client.rcpt(address)]
                if all(code == 250 for code, _ in replies):
                    final = True
                    replies.append(client.data(mail("chaos")))
            code, text = max(replies)
        except smtplib.SMTPResponseException as error:
            code, text = error.smtp_code, error.smtp_error
        except (OSError, smtplib.SMTPException):
            if final:
                ledger.without_reply.add(address)
            else:
                ledger.refused_connections += 1
            return
        if code >= 500:
            ledger.permanent[address] = f"{code} {text!r}"
        elif code >= 400:
            ledger.later.add(address)
        else:
            ledger.acknowledged[address] = text.decode().rpartition(" ")[2]


@pytest.fixture
def several(postgres: Postgres, tmp_path: Path) -> Iterator[ByHand]:
    with ByHand(tmp_path / "var", postgres.url(postgres.new_database())) as programs:
        for name in ("smtp1", "smtp2"):
            programs.smtp(name)
        programs.webhook("webhook1")
        second = free_port()
        programs.webhook("webhook2", second)
        programs.subscribe(second)
        programs.ports = {"webhook1": programs.webhook_port, "webhook2": second}
        for name in ("worker1", "worker2", "worker3"):
            programs.worker(name, "-P", "threads", "-c", "8")
        yield programs


def test_nothing_is_lost_or_doubled_while_each_kind_is_restarted(several: ByHand, postgres: Postgres) -> None:
    ledger, stopping = Ledger(), threading.Event()
    addresses = (f"success+c{number}@simulator.amazonses.com" for number in count())
    clients = [Client(several.smtp_port, ledger, addresses, stopping) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        restart_in_turn(several, postgres)
    finally:
        stopping.set()
        for client in clients:
            client.join()
    until(lambda: is_settled(several), seconds=120, every=1, what="nothing is on its way any more")
    report(ledger, several)
    assert_exactly_once(ledger, several)


def restart_in_turn(several: ByHand, postgres: Postgres) -> None:
    end = time.monotonic() + SECONDS
    middle = time.monotonic() + SECONDS / 2
    database_restarted = False
    for restart in cycle(restarts(several)):
        time.sleep(BETWEEN_RESTARTS)
        if not database_restarted and time.monotonic() > middle:
            postgres.stop("fast")
            postgres.start()
            database_restarted = True
        elif time.monotonic() > end:
            return
        else:
            restart()


def restarts(several: ByHand) -> list[Callable[[], None]]:
    """Each program in turn: asked to end at one time, killed at the other."""

    def again(name: str, start: Callable[[str], None], *, kill: bool) -> Callable[[], None]:
        def restart() -> None:
            if kill:
                several.kill(name)
            else:
                assert several.stop(name) == 0, several.log(name)[-2000:]
            start(name)

        return restart

    def worker(name: str) -> None:
        several.worker(name, "-P", "threads", "-c", "8")

    def webhook(name: str) -> None:
        several.webhook(name, several.ports[name])

    return [
        again("smtp1", several.smtp, kill=False),
        again("worker1", worker, kill=False),
        again("webhook1", webhook, kill=False),
        again("smtp2", several.smtp, kill=True),
        again("worker2", worker, kill=True),
        again("webhook2", webhook, kill=True),
        again("smtp1", several.smtp, kill=True),
        again("worker3", worker, kill=False),
    ]


def is_settled(several: ByHand) -> bool:
    return not any(
        several.shown("messages", "list", "--limit", "1", "--status", status) for status in ("QUEUED", "SENDING")
    )


def assert_exactly_once(ledger: Ledger, several: ByHand) -> None:
    copies = Counter(address for copy in several.sent() for address in copy["recipients"])
    ambiguous = {
        recipient["address"]
        for message in several.shown("messages", "list", "--limit", "1000", "--status", "AMBIGUOUS")
        for recipient in message["recipients"]
    }
    assert ledger.permanent == {}
    assert {address: number for address, number in copies.items() if number > 1} == {}
    assert {address for address in ledger.later if copies[address]} == set(), "answered 4xx, and sent"
    missing = {address for address in ledger.acknowledged if not copies[address]}
    assert missing <= ambiguous, "acknowledged, and neither sent nor waiting for evidence"


def report(ledger: Ledger, several: ByHand) -> None:
    print(
        f"acknowledged {len(ledger.acknowledged)}, sent {len(several.sent())}, later {len(ledger.later)},"
        f" without a reply {len(ledger.without_reply)}, refused connections {ledger.refused_connections},"
        f" permanent {len(ledger.permanent)},"
        f" ambiguous {len(several.shown('messages', 'list', '--limit', '1000', '--status', 'AMBIGUOUS'))}"
    )
