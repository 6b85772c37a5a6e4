"""Scenario "bytes": no octet that SMTP smuggling lives from reaches SES, and no message hides in another.

The variants are those that fooled servers in 2023 (CVE-2023-51764 and others) and aiosmtpd in 2024 (CVE-2024-27305).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from tests.chaos.client import addresses
from tests.chaos.conclusion import conclude, copies_of, settle
from tests.chaos.ledger import Answer
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.support.installation import mail
from tests.support.ports import free_port

_ENDS = (
    *(b"\n.\n", b"\n.\r\n", b"\n.\r", b"\r.\r\n", b"\r.\r", b"\r.\n", b"\r\n.\r", b"\r\n.\n", b"\r\n\0.\r\n"),
    *(b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"\r\r\n.\r\n"),
)
_STRAY = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")


@scenario(
    "bytes",
    title="Smuggling: 15 spellings of the end of a mail, in one segment and octet by octet, on both kinds of listener",
    passes="at most one message each; no bare CR, bare LF or NUL in any body given to SES",
    tiers={Tier.SHORT: 6, Tier.STANDARD: 12, Tier.LONG: 25},
)
def smuggling(run: Run) -> None:
    ports = free_port(), free_port()
    site = build(run, SESGATE_LISTENERS=f"127.0.0.1:{ports[0]} lan, 127.0.0.1:{ports[1]} modern")
    start(site, workers=1, webhook=False)
    pairs = [
        _hand_in(site, port, end, fresh, octets=octets)
        for port in ports
        for octets in ((len(_BLOCK),) if run.tier is Tier.SHORT else (len(_BLOCK), 1))
        for end, fresh in zip(_ENDS, _pairs(), strict=False)
    ]
    plain = next(addresses())
    _converse(ports[0], plain, mail("plain") + b"\r\n.\r\n", octets=len(_BLOCK))
    site.ledger.end(plain, Answer.ACKNOWLEDGED)
    settle(run, site.book, 60)
    sent = site.programs.sent()
    copies = copies_of(sent)
    several = [outer for outer, inner in pairs if copies[outer] and copies[inner]]
    stray = sum(len(_STRAY.findall(site.programs.sandbox.raw(copy["id"]))) for copy in sent)
    run.figure("messages tried", len(pairs))
    run.figure("messages that hid in another", len(several))
    run.figure("bare CR, LF and NUL octets given to SES", stray)
    run.check(not several, f"no message hides in another, but for {len(several)}")
    run.check(not stray, f"no bare CR, LF or NUL is given to SES, but for {stray}")
    conclude(run, site.ledger, sent, site.book)


_BLOCK = b"x" * 65_536


def _pairs() -> Iterator[tuple[str, str]]:
    fresh = addresses()
    while True:
        yield next(fresh), next(fresh)


def _hand_in(site: Site, port: int, end: bytes, pair: tuple[str, str], *, octets: int) -> tuple[str, str]:
    """A mail with another behind `end`. Both may be sent, as far as the ledger knows: who hides is judged by pairs."""
    outer, inner = pair
    for address in pair:
        site.ledger.begin(address)
        site.ledger.end(address, Answer.UNANSWERED)
    commands = f"MAIL FROM:<evil@example.com>\r\nRCPT TO:<{inner}>\r\nDATA\r\n".encode()
    content = mail("outer") + end + commands + mail("inner") + b"\r\n.\r\n"
    _converse(port, outer, content, octets=octets)
    return pair


def _converse(port: int, to: str, content: bytes, *, octets: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = connection.makefile("rb")
        replies.readline()
        for command in ("HELO client.example.com", "MAIL FROM:<app@example.com>", f"RCPT TO:<{to}>", "DATA"):
            connection.sendall(f"{command}\r\n".encode())
            replies.readline()
        try:
            for start_ in range(0, len(content), octets):
                connection.sendall(content[start_ : start_ + octets])
            connection.shutdown(socket.SHUT_WR)
            while replies.readline():
                pass
        except OSError:
            return  # the front closed the connection, which is an answer, too
