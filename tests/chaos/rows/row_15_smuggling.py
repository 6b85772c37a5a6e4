"""Row 15: no octet that SMTP smuggling lives from reaches SES, and no message hides in another.

The variants are those that fooled servers in 2023 (CVE-2023-51764 and others) and aiosmtpd in 2024 (CVE-2024-27305).
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.client import addresses
from tests.chaos.conclusion import conclude, copies_of, settle
from tests.chaos.ledger import Answer
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.chaos.tls_files import TlsFiles
from tests.support.installation import mail
from tests.support.ports import free_port

_ENDS = (
    *(b"\n.\n", b"\n.\r\n", b"\n.\r", b"\r.\r\n", b"\r.\r", b"\r.\n", b"\r\n.\r", b"\r\n.\n", b"\r\n\0.\r\n"),
    *(b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"\r\r\n.\r\n"),
)
_STRAY = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
_OUTER = mail("outer")
_NAMES = addresses()


@dataclass(frozen=True)
class Door:
    """A listener, and how one gets in there."""

    port: int
    context: ssl.SSLContext | None = None
    secret: str = ""


@scenario(
    "15",
    title="Smuggling: 15 spellings of the end of a mail, in one segment, octet by octet and cut at every offset, on "
    "each kind of listener",
    passes="at most one message each; no bare CR, bare LF or NUL in any body given to SES",
    tiers={Tier.SHORT: 6, Tier.STANDARD: 45, Tier.LONG: 60},
)
def row_15(run: Run) -> None:
    site, doors = _built(run)
    start(site, workers=1, webhook=False)
    pairs = [_hand_in(site, door, end, cuts) for door in doors for end in _ENDS for cuts in _cuts(run.tier, end)]
    plain = next(_NAMES)
    _converse(doors[0], plain, [mail("plain") + b"\r\n.\r\nQUIT\r\n"])
    site.ledger.end(plain, Answer.ACKNOWLEDGED)
    settle(run, site.book, 120)
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


def _built(run: Run) -> tuple[Site, tuple[Door, ...]]:
    lan, modern, antique = free_port(), free_port(), free_port()
    tls = TlsFiles(run.directory / "tls")
    listeners = f"127.0.0.1:{lan} lan, 127.0.0.1:{modern} modern tls, 127.0.0.1:{antique} antique"
    site = build(run, SESGATE_LISTENERS=listeners, **tls.settings)
    secret = site.programs.command("credentials", "add", "smuggler").split()[-1]
    return site, (Door(lan), Door(modern, tls.client_context, secret), Door(antique))


def _cuts(tier: Tier, end: bytes) -> Iterator[list[int]]:
    """Where the content is cut: nowhere, in two at every offset about the spelling, and between all octets."""
    yield []
    if tier is Tier.SHORT:
        return
    begin = len(_OUTER)
    yield from ([offset] for offset in range(begin - 2, begin + len(end) + 3))
    yield list(range(1, begin + len(end) + 80))


def _hand_in(site: Site, door: Door, end: bytes, cuts: list[int]) -> tuple[str, str]:
    """A mail with another behind `end`. Both may be sent, as far as the ledger knows: who hides is judged by pairs."""
    outer, inner = pair = next(_NAMES), next(_NAMES)
    for address in pair:
        site.ledger.begin(address)
        site.ledger.end(address, Answer.UNANSWERED)
    commands = f"MAIL FROM:<evil@example.com>\r\nRCPT TO:<{inner}>\r\nDATA\r\n".encode()
    content = _OUTER + end + commands + mail("inner") + b"\r\n.\r\nQUIT\r\n"
    at = [0, *cuts, len(content)]
    _converse(door, outer, [content[begin:until] for begin, until in pairwise(at)])
    return pair


def _converse(door: Door, to: str, segments: list[bytes]) -> None:
    with _connected(door) as connection:
        replies = connection.makefile("rb")
        replies.readline()
        token = base64.b64encode(b"\0smuggler\0" + door.secret.encode()).decode()
        greeting = ("EHLO client.example.com", f"AUTH PLAIN {token}") if door.secret else ("HELO client.example.com",)
        for command in (*greeting, *_envelope(to)):
            connection.sendall(f"{command}\r\n".encode())
            while (line := replies.readline())[3:4] == b"-":
                pass
            assert line[:1] in b"23", f"{command.split()[0]} is answered {line!r}"
        try:
            for segment in segments:
                connection.sendall(segment)
            while replies.readline():
                pass
        except OSError:
            return  # the front closed the connection, which is an answer, too


def _envelope(to: str) -> tuple[str, ...]:
    return "MAIL FROM:<app@example.com>", f"RCPT TO:<{to}>", "DATA"


def _connected(door: Door) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", door.port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection if door.context is None else door.context.wrap_socket(connection, server_hostname="localhost")
