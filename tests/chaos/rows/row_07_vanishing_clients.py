"""Row 7: clients that are gone after the final dot. Their mail is stored whole or not at all, and nobody is upset.

Each that has no reply hands the same mail in again, as a mail server does: that may cost one copy, and never two.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import BinaryIO

from tests.chaos.client import Client, addresses
from tests.chaos.conclusion import settle
from tests.chaos.ledger import Answer
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.chaos.whole import check_whole
from tests.support.installation import mail

_CLIENTS = {Tier.SHORT: 80, Tier.STANDARD: 1_000, Tier.LONG: 10_000}
_AT_ONCE = 8

Vanishing = Callable[[socket.socket, bytes], str]
"""Send content and its final dot, and go; the reply, if the client stays for it."""


@scenario(
    "7",
    title="The client vanishes after the dot: half-closed, reset, closed, and QUIT sent ahead",
    passes="each mail is stored whole or not at all; no traceback; handed in again, at most one copy more",
    tiers={Tier.SHORT: 13, Tier.STANDARD: 50, Tier.LONG: 300},
)
def row_07(run: Run) -> None:
    site = build(run)
    start(site, workers=1, webhook=False)
    mails = list(islice(addresses(), _CLIENTS[run.tier]))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="client") as pool:
        list(pool.map(lambda one: _vanish(site, *one), zip(mails, cycle(_VANISHINGS), strict=False)))
        without_reply = [mail for mail, answer in site.ledger.read().items() if answer is Answer.UNANSWERED]
        run.say(f"{len(without_reply)} of {len(mails)} clients did not stay for the reply")
        list(pool.map(lambda name: _hand_in_again(site, name), without_reply))
    settle(run, site.book, 60)
    run.figure("clients that vanished", len(mails))
    check_whole(run, site.book)
    run.check("Traceback" not in site.programs.log("smtp"), "the front's log has no traceback")
    run.check(bool(without_reply), "clients were gone before their reply")
    site.conclude(ambiguous=dict.fromkeys(without_reply, 1))


def _vanish(site: Site, name: str, vanishing: Vanishing) -> None:
    site.ledger.begin(name)
    with socket.create_connection(("127.0.0.1", site.programs.smtp_port), timeout=60) as connection:
        replies = connection.makefile("rb")
        said = _reply(replies)
        for line in ("EHLO client.example.com", "MAIL FROM:<app@example.com>", f"RCPT TO:<{name}>", "DATA"):
            connection.sendall(f"{line}\r\n".encode())
            said = _reply(replies)
        assert said.startswith("354"), said
        said = vanishing(connection, mail(name) + b".\r\n")
        replies.close()
    site.ledger.end(name, Answer.ACKNOWLEDGED if said.startswith("250") else Answer.UNANSWERED, said)


def _half_close(connection: socket.socket, content: bytes) -> str:
    """It has nothing more to say, and still listens: it is owed a reply, and gets one."""
    connection.sendall(content)
    connection.shutdown(socket.SHUT_WR)
    with connection.makefile("rb") as replies:
        said = _reply(replies)
    assert said.startswith("250"), f"a half-closed client reads {said!r}"
    return said


def _reset(connection: socket.socket, content: bytes) -> str:
    """Before the commit, in it or after it."""
    connection.sendall(content)
    time.sleep(random.uniform(0, 0.02))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return ""


def _close(connection: socket.socket, content: bytes) -> str:
    connection.sendall(content)
    return ""


def _quit_ahead(connection: socket.socket, content: bytes) -> str:
    connection.sendall(content + b"QUIT\r\n")
    return ""


_VANISHINGS: tuple[Vanishing, ...] = (_half_close, _reset, _close, _quit_ahead)


def _reply(replies: BinaryIO) -> str:
    while (line := replies.readline().decode())[3:4] == "-":
        pass
    return line


def _hand_in_again(site: Site, name: str) -> None:
    answer = Client(site.programs.smtp_port, site.ledger).hand_in(name)
    assert answer is Answer.ACKNOWLEDGED, f"a mail that is handed in again is {answer}"
