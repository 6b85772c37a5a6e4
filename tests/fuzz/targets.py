"""What is fuzzed: functions that read what strangers wrote, and what must hold whatever they wrote.

A target takes any bytes. It raises nothing for input that the product accepts or refuses as it should; AssertionError
and every other exception is a find.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from gateway.addresses import (
    AddressError,
    Mailbox,
    address_key,
    parse_forward_path,
    parse_mailbox,
    reported_address,
)
from gateway.bounded_lines import FileError
from gateway.content import ContentError, Inspected, Trace, inspect, prepare
from gateway.senders import SenderRewrite
from gateway.smtp import auth, proxy
from gateway.smtp.commands import is_foreign, parse_mail, parse_rcpt
from gateway.smtp.data import OversizeError, read_content
from gateway.smtp.replies import RefusedError
from gateway.sns import SnsError, Verifier
from gateway.sns_certificates import CertificateUnavailableError
from gateway.sns_topics import TopicsError, parse_topic
from gateway.suppression_files import (
    BadRow,
    Defaults,
    Row,
    csv_header,
    csv_text,
    json_text,
    read_csv,
    read_json_lines,
)
from tasks.ses_events import UnknownEventError, parse_event

_STRAY = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
_NEVER_SENT = re.compile(rb"(?im)^(?:bcc|resent-bcc|dkim-signature|x-(?:ses|sesgate)-[^:\s]*)[ \t]*:")
_READER_LIMIT = 64
_TOPIC = "arn:aws:sns:us-east-1:123456789012:sesgate"
_SIMULATED_TOPIC = "arn:aws:sns:us-east-1:000000000000:sesgate"
_REWRITE = SenderRewrite(frozenset({"a@b.test", "root"}), "app@example.org")
_DEFAULTS = Defaults(now=datetime(2026, 11, 22, 10, tzinfo=UTC), expires=lambda _reason, _since: None)
_TRACE = Trace(
    attempt_id="0123456789abcdef0123456789abcdef",
    message_ulid="01JD6Z3Q9Y8N5V2K7M4T1RMESS",
    received_at=datetime(2026, 11, 22, 10, tzinfo=UTC),
    hostname="gw.example.org",
    client_address="127.0.0.1",
    helo="client.example.org",
    protocol="ESMTP",
)


def command(data: bytes) -> None:
    """The arguments of MAIL and RCPT, as far as the protocol lets them through: printable ASCII."""
    text = data.decode("latin-1")
    is_foreign(text.partition(" ")[0].upper())
    if not (text.isascii() and text.isprintable()):
        return
    with suppress(RefusedError):
        path, size = parse_mail(text)
        assert size is None or 0 <= size < 10**20
        _mailbox(path, parse_mailbox)
    with suppress(RefusedError):
        mailbox = _mailbox(parse_rcpt(text), parse_forward_path)
        assert mailbox is None or not set("%!@:") & set(mailbox.local_part)


def address(data: bytes) -> None:
    """Addresses as SMTP names them, and as events report them."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (parse_mailbox, parse_forward_path):
        mailbox = _mailbox(text, parse)
        if mailbox is not None:
            assert mailbox.key == address_key(reported_address(text)), "what bounces is known by what was accepted"
    for known in (text, reported_address(text)):
        address_key(known)


def _mailbox(text: str, parse: Callable[[str], Mailbox]) -> Mailbox | None:
    try:
        mailbox = parse(text)
    except AddressError as error:
        assert len(text) < 8 or text not in str(error), "the reason does not repeat the text"  # noqa: PT017
        return None
    assert str(mailbox) == text
    assert text.isascii()
    assert text.isprintable()
    assert parse(str(mailbox)) == mailbox
    return mailbox


class _Segments:
    """The stream of a client, in the segments that the first octet of the input tells."""

    def __init__(self, stream: bytes, seed: int) -> None:
        self._stream = stream
        self._seed = seed
        self.position = 0

    async def read(self, most: int) -> bytes:
        length = min(most, 1 + (self._seed + 7 * self.position) % (1 + self._seed % 23))
        segment = self._stream[self.position : self.position + length]
        self.position += len(segment)
        return segment

    def unread(self, data: bytes) -> None:
        self.position -= len(data)


def reader(data: bytes) -> None:
    """The content up to the lone dot: the same as a reading of the whole stream at once gives."""
    if not data:
        return
    stream = data[1:]
    segments = _Segments(stream, data[0])
    end = (b"\r\n" + stream).find(b"\r\n.\r\n")
    try:
        content = _run(read_content(segments, _READER_LIMIT, _no_progress))  # type: ignore[arg-type]  # a double
    except ConnectionResetError:
        assert end < 0, "an end that is there is found"
        return
    except OversizeError:
        assert len(stream) > 2 * _READER_LIMIT
        return
    assert end >= 0, "nothing but CRLF, dot, CRLF ends the content"
    assert segments.position == end + 3, "what follows the end is left for the next command"
    lines = stream[:end].split(b"\r\n")[:-1]
    wanted = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)  # RFC 5321 section 4.5.2
    assert content == (wanted if len(wanted) <= _READER_LIMIT else None)


async def _no_progress(_received: int) -> bool:
    return True


def _run(coroutine: Any) -> Any:
    """A coroutine that waits for nothing needs no loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def content(data: bytes) -> None:
    """Inspecting received content, and preparing what was accepted for SES."""
    inspected = None
    for refuse_bare_lf in (True, False):
        with suppress(ContentError):
            inspected = inspect(data, refuse_bare_lf=refuse_bare_lf)
    if inspected is None:
        return
    assert inspected.facts.subject.isprintable()
    assert inspected.facts.header_from.isprintable()
    repaired = data.replace(b"\r\n", b"\n")
    assert inspected.content.replace(b"\r\n", b"\n") in (repaired, repaired + b"\n")
    for rewrite in (None, _REWRITE):
        _check_prepared(inspected, prepare(inspected.content, _TRACE, rewrite))


def _check_prepared(inspected: Inspected, prepared: bytes) -> None:
    header, separator, body = prepared.partition(b"\r\n\r\n")
    assert separator
    assert header.isascii()
    assert not _STRAY.search(prepared)
    first, _, rest = header.partition(b"\r\n")
    assert first == b"X-Sesgate-Attempt: " + _TRACE.attempt_id.encode()
    assert not _NEVER_SENT.search(rest)
    assert max(map(len, header.split(b"\r\n"))) <= 998
    assert inspected.content.endswith(body)


class _Octets:
    """A connection that gives what it has, and then ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    async def read_exactly(self, octets: int) -> bytes:
        read = self._data[self.position : self.position + octets]
        self.position += octets
        if len(read) < octets:
            raise ConnectionResetError
        return read


def proxy_header(data: bytes) -> None:
    """A PROXY header: read off a connection, it is the same as parsed whole, and nothing behind it is read."""
    octets = _Octets(data)
    try:
        client = _run(proxy.read_header(octets.read_exactly))
    except (proxy.ProxyError, ConnectionResetError):
        return
    header = data[: octets.position]
    assert client == (proxy.parse_v2 if header.startswith(proxy.SIGNATURE) else proxy.parse_v1)(header)
    assert client is None or str(client).isascii()


def login(data: bytes) -> None:
    """The dialogue of AUTH, a line each."""
    first, *lines = data.decode("latin-1").split("\n")
    waiting = iter(lines)

    async def ask(_challenge: str) -> str:
        return next(waiting, "*")

    with suppress(RefusedError):
        claim = _run(auth.converse(*auth.parse_auth(first), ask))
        assert "password" not in repr(claim)
        claim.name.encode()


def sns(data: bytes) -> None:
    """A body posted by a stranger: nobody has the key, so nothing may be believed."""
    verifier = Verifier(
        lambda: frozenset({_TOPIC, _SIMULATED_TOPIC}), _no_certificate, lambda: datetime(2026, 11, 22, tzinfo=UTC)
    )
    try:
        believed = verifier.verify(data)
    except SnsError as refusal:
        assert str(refusal).isprintable()  # noqa: PT017
        return
    raise AssertionError(f"{believed!r} was believed")


def _no_certificate(_url: str) -> bytes:
    raise CertificateUnavailableError("there is none")


def topic(data: bytes) -> None:
    """The name of a topic."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(TopicsError):
        parsed = parse_topic(text)
        assert parsed.host.isascii()
        assert "/" not in parsed.host


def event(data: bytes) -> None:
    """What SES reports, after SNS was believed: JSON with texts that remote mail servers wrote."""
    try:
        reports = parse_event(data.decode("utf-8", "replace"))
    except UnknownEventError as refusal:
        str(refusal).encode()
        return
    for report in reports:
        for text in (report.address, report.diagnostic, report.sub_type, report.feedback_id):
            assert text is None or (len(text) <= 500 and text.isprintable())
            (text or "").encode()
        assert report.occurred_at is None or report.occurred_at.tzinfo is not None


def suppression_list(data: bytes) -> None:
    """A file of suppressions, of either form: what was read is written so that the same is read again."""
    for read in (read_csv, read_json_lines):
        with suppress(FileError):
            entries = [row.entry for row in read(io.BytesIO(data), _DEFAULTS) if isinstance(row, Row)]
            csv = csv_header() + csv_text(entries)
            assert [row.entry for row in _rows(read_csv, csv)] == entries
            assert [row.entry for row in _rows(read_json_lines, json_text(entries))] == entries


def _rows(read: Callable[[BinaryIO, Defaults], Iterator[Row | BadRow]], text: str) -> list[Row]:
    rows = list(read(io.BytesIO(text.encode()), _DEFAULTS))
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [row for row in rows if isinstance(row, Row)]


@dataclass(frozen=True)
class Target:
    """A function to fuzz, and words that an engine would be long in finding."""

    check: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()


_LINES = (b"\r\n", b"\n", b"\r", b"\0", b".", b"\r\n.\r\n", b"\r\n..\r\n", b"\r\n\r\n")
_ADDRESSES = (b"<", b">", b"@", b'"', b"\\", b"a@b.test", b'"a b"@c.test', b"xn--", b"%", b"!", b":", "ü".encode())
_COLUMNS = (b"address,reason,scope,source,detail,note,since,expires", b'"address"', b'"EmailAddress"')
_JSON = (b"{", b"}", b"[", b"]", b'"', b"null", b"1e999", b"NaN", b'"Type"', b'"TopicArn"', b"\\ud800", b"\\u0000")

TARGETS = {
    "command": Target(command, (b"FROM:<", b"TO:<", b" SIZE=", b" BODY=8BITMIME", b" AUTH=<>", *_ADDRESSES)),
    "address": Target(address, _ADDRESSES),
    "reader": Target(reader, _LINES),
    "content": Target(
        content,
        (b"From: ", b"Bcc: ", b"Received: by gw (sesgate) x", b"Subject: =?utf-8?q?", b"\r\n ", *_LINES, *_ADDRESSES),
    ),
    "proxy": Target(
        proxy_header, (proxy.SIGNATURE, b"PROXY TCP4 ", b"PROXY TCP6 ", b"UNKNOWN", b"\x21\x11\x00\x0c", b"::1")
    ),
    "login": Target(login, (b"PLAIN ", b"LOGIN ", b"=", b"*", b"\n", b"AGEAYg==", b"VXNlcg==")),
    "sns": Target(sns, _JSON),
    "topic": Target(topic, (b"arn:", b"aws", b"aws-cn", b"aws-us-gov", b":sns:", b"us-east-1", b"000000000000")),
    "suppressions": Target(
        suppression_list,
        (*_COLUMNS, b"BOUNCE", b"2026-11-22T10:00:00Z", b"@b.test", b'""', b",", *_LINES, *_ADDRESSES, *_JSON),
    ),
    "event": Target(event, (b'"eventType"', b'"Bounce"', b'"mail"', b'"messageId"', b'"timestamp"', *_JSON)),
}
