"""The clients: threads that hand in mails, each to an address of its own, and write the ledger."""

from __future__ import annotations

import secrets
import smtplib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import TracebackType
from typing import Self

from tests.chaos.ledger import Answer, Ledger
from tests.support.installation import mail

_PATIENCE = 120.0  # what a mail client has, too (RFC 5321, section 4.5.3.2.6, asks for ten minutes)


def addresses(domain: str = "simulator.amazonses.com") -> Iterator[str]:
    """Addresses that nobody has used before: each stands for one mail."""
    series = secrets.token_hex(3)
    return (f"success+{series}-{number}@{domain}" for number in count())


class Client:
    """Hands in one mail after the other. Each is tried once, so that more than one copy is never a client's fault."""

    def __init__(self, port: int, ledger: Ledger, *, mails_per_connection: int = 1) -> None:
        self._port = port
        self._ledger = ledger
        self._mails_per_connection = mails_per_connection
        self._connection: smtplib.SMTP | None = None
        self._mails = 0
        self.waits: list[float] = []  # seconds from the final dot to 250
        self.unfriendly_ends = 0  # QUIT answered by something else than 221: an application takes it for a failure

    def hand_in(self, address: str) -> Answer:
        self._ledger.begin(address)
        answer, text = self._try(address)
        self._ledger.end(address, answer, text)
        if self._mails >= self._mails_per_connection:
            self.quit()
        return answer

    def quit(self) -> None:
        connection, self._connection, self._mails = self._connection, None, 0
        if connection is None:
            return
        try:
            code, _ = connection.quit()
            self.unfriendly_ends += code != 221
        except (OSError, smtplib.SMTPException):
            connection.close()

    def _try(self, address: str) -> tuple[Answer, str]:
        handing_in = False
        try:
            connection = self._connected()
            replies = [connection.mail("app@example.com")]
            if replies[0][0] == 250:
                replies.append(connection.rcpt(address))
            if all(code == 250 for code, _ in replies):
                handing_in = True
                started = time.monotonic()
                replies.append(connection.data(mail(address)))
                self.waits.append(time.monotonic() - started)
                self._mails += 1
            code, text = max(replies)
        except smtplib.SMTPResponseException as error:
            code, text = error.smtp_code, _bytes(error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self._give_up()
            return (Answer.UNANSWERED if handing_in else Answer.NOT_HANDED_IN), str(error)
        if code != 250:
            self._give_up()
        kind = Answer.ACKNOWLEDGED if code < 400 else Answer.LATER if code < 500 else Answer.REFUSED
        return kind, text.decode(errors="replace")

    def _connected(self) -> smtplib.SMTP:
        if self._connection is None:
            self._connection = smtplib.SMTP("127.0.0.1", self._port, timeout=_PATIENCE)
            self._connection.ehlo("client.example.com")
        return self._connection

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._mails = None, 0


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


class Load:
    """Clients that hand in mails side by side, `rate` a second together, for the length of a `with` block."""

    def __init__(self, ports: Sequence[int], ledger: Ledger, *, rate: float, clients: int = 4) -> None:
        self._stopping = threading.Event()
        self._addresses = addresses()
        self._turn = threading.Lock()
        self._pause = clients / rate
        self.clients = [Client(ports[number % len(ports)], ledger) for number in range(clients)]
        self._threads = [threading.Thread(target=self._run, args=(client,), name="client") for client in self.clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def longest_usual_wait(self) -> float:
        """The 99th percentile of the seconds from the final dot to its 250."""
        waits = sorted(wait for client in self.clients for wait in client.waits)
        return waits[int(0.99 * (len(waits) - 1))] if waits else 0.0

    @property
    def unfriendly_ends(self) -> int:
        return sum(client.unfriendly_ends for client in self.clients)

    def _run(self, client: Client) -> None:
        while not self._stopping.wait(self._pause):
            with self._turn:
                address = next(self._addresses)
            client.hand_in(address)
        client.quit()


def burst(ports: Sequence[int], ledger: Ledger, mails: int, *, clients: int = 8) -> None:
    """Hand in that many mails as fast as the front takes them; every one must be acknowledged."""
    wanted = iter([address for address, _ in zip(addresses(), range(mails), strict=False)])
    turn = threading.Lock()

    def run(number: int) -> list[Answer]:
        client = Client(ports[number % len(ports)], ledger, mails_per_connection=100)
        answers: list[Answer] = []
        while True:
            with turn:
                address = next(wanted, None)
            if address is None:
                client.quit()
                return answers
            answers.append(client.hand_in(address))

    with ThreadPoolExecutor(clients, thread_name_prefix="client") as pool:
        answers = [answer for some in pool.map(run, range(clients)) for answer in some]
    taken = answers.count(Answer.ACKNOWLEDGED)
    assert taken == mails, f"{mails - taken} of {mails} mails were not acknowledged although nothing is wrong"
