"""What a message must be to be accepted, and the few edits it gets right before it is sent.

Both work on the bytes. Whatever is not named here is neither read nor changed: the body never, and of the
header section only the fields that `prepare` lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import format_datetime
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address

from gateway.header_encoding import MAX_LINE, decode_raw, encode_field
from gateway.refolding import refold
from gateway.senders import (
    LONGEST_FIELD,
    SENDER_FIELDS,
    Field,
    SenderAddress,
    SenderRewrite,
    rewritten,
    sender_addresses,
)

MAX_HEADER = 100 * 1024  # what Postfix takes as its header_size_limit, too
MAX_RECEIVED = 50  # RFC 5321 section 6.3 leaves the number to us; Postfix counts to 50
MAX_OWN_RECEIVED = 2  # one gateway behind another is a set-up, three passes are a loop
MAX_SUBJECT = 200
MAX_HEADER_FROM = 320
_FEW_CLIENTS = 256  # those that send much are few, and call themselves the same each time

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)\r\n")
_FIELD_NAME = re.compile(rb"[!-9;-~]++[ \t]*+:")
_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_OWN_RECEIVED = re.compile(rb"\sby\s+\S+\s+\(sesgate\)\s")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_REMOVED = frozenset((b"bcc", b"resent-bcc", b"dkim-signature"))
_REMOVED_PREFIXES = (b"x-ses-", b"x-sesgate-")
SEARCHED_AT_ONCE = 1024 * 1024
_MAX_DECODED = 4000  # octets of a field that are looked at for its decoded text


class ContentFault(Enum):
    """Why content is refused; the SMTP front gives each its reply."""

    BARE_LF = "bare LF"
    BARE_CR = "bare CR"
    NUL = "NUL"
    LINE_TOO_LONG = "line too long"
    HEADER_TOO_LARGE = "header section too large"
    NOT_A_FIELD = "neither a header field nor the empty line after them"
    NO_FROM = "no From field"
    SEVERAL_FROM = "more than one From field"
    TOO_MANY_HOPS = "too many Received fields"
    LOOP = "passed this gateway before"


class ContentError(ValueError):
    """The content is refused for `fault`; `line` counts from 1 and is None when no single line is to blame."""

    def __init__(self, fault: ContentFault, line: int | None = None) -> None:
        super().__init__(fault.value if line is None else f"{fault.value} (line {line})")
        self.fault = fault
        self.line = line


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """What people look for a message by: decoded, printable and cut to a bounded length; `size` in octets.

    `senders` are the addresses that SES will check, as they are written.
    """

    subject: str
    header_from: str
    header_message_id: str | None
    size: int
    senders: tuple[SenderAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspected:
    """Content that may be stored, its line ends repaired, and the facts about it."""

    content: bytes
    facts: ContentFacts


@dataclass(frozen=True, slots=True)
class Trace:
    """What `prepare` writes into the trace fields of one attempt; `received_at` knows its time zone."""

    attempt_id: str
    message_ulid: str
    received_at: datetime
    hostname: str
    client_address: str
    helo: str
    protocol: str


def inspect(content: bytes, *, refuse_bare_lf: bool, refold_header: bool = False) -> Inspected:
    """Check received content (RFC 5321 section 2.3.8, RFC 5322 sections 2.1.1 and 3.6); ContentError refuses it."""
    content = _with_crlf_only(content, refuse_bare_lf=refuse_bare_lf)
    if refold_header:
        content = refold(content, MAX_LINE, header_within=MAX_HEADER)
    _check_line_lengths(content)
    fields = _inspected_fields(content)
    received = _values(fields, b"received")
    if len(received) > MAX_RECEIVED:
        raise ContentError(ContentFault.TOO_MANY_HOPS)
    if sum(_OWN_RECEIVED.search(value) is not None for value in received) > MAX_OWN_RECEIVED:
        raise ContentError(ContentFault.LOOP)
    return Inspected(content, _facts(fields, len(content)))


def _with_crlf_only(content: bytes, *, refuse_bare_lf: bool) -> bytes:
    nul = content.find(b"\0")
    if nul >= 0:
        raise ContentError(ContentFault.NUL, _line_of(content, nul))
    bare_cr = _first(content, _BARE_CR)
    if bare_cr is not None:
        raise ContentError(ContentFault.BARE_CR, _line_of(content, bare_cr))
    if content.count(b"\r") != content.count(b"\n"):  # an LF stands behind each CR, and so some behind none
        if refuse_bare_lf:
            raise ContentError(ContentFault.BARE_LF, _line_of(content, _first(content, _BARE_LF) or 0))
        content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


def _first(content: bytes, pattern: re.Pattern[bytes]) -> int | None:
    """Where the pattern, of one octet and what stands beside it, is found first.

    By and by: a search does not let go of the interpreter, and the event loop waits for it.
    """
    for start in range(0, len(content), SEARCHED_AT_ONCE):
        end = start + SEARCHED_AT_ONCE
        match = pattern.search(content, start, end + 1)
        if match is not None and match.start() < end:
            return match.start()
    return None


def _line_of(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _check_line_lengths(content: bytes) -> None:
    """Jump from one line end to the last one within reach: about a thousand octets a step, not a line a step."""
    reach = MAX_LINE + 2
    start = 0
    while start < len(content):
        line_end = content.rfind(b"\n", start, start + reach)
        if line_end < 0:
            raise ContentError(ContentFault.LINE_TOO_LONG, _line_of(content, start))
        start = line_end + 1


def _inspected_fields(content: bytes) -> list[tuple[bytes, bytes]]:
    """The header fields in order: their names in small letters, and their values.

    ContentError by size, number of From, and what ends the section: behind a line that is neither a field nor empty, a
    `Bcc` would be text of the body, for everybody to read.
    """
    fields: list[tuple[bytes, bytes]] = []
    end = 0
    # One octet more than may be: whether the last line goes on in a fold shows in the octet behind it.
    for match in _header_fields(content, MAX_HEADER + 1):
        fields.append((match[1].lower(), match[2]))
        end = match.end()
    if end > MAX_HEADER or _FIELD_NAME.match(content, end):  # the latter is a field that does not end within reach
        raise ContentError(ContentFault.HEADER_TOO_LARGE)
    if end < len(content) and not content.startswith(b"\r\n", end):
        raise ContentError(ContentFault.NOT_A_FIELD, _line_of(content, end))
    authors = _values(fields, b"from")
    if len(authors) > 1:
        raise ContentError(ContentFault.SEVERAL_FROM)
    if not authors or not authors[0].strip():
        raise ContentError(ContentFault.NO_FROM)
    return fields


def _header_fields(content: bytes, within: int) -> Iterator[re.Match[bytes]]:
    """The header fields that end `within` so many octets, in order, each with its folds.

    They end at the first line that is none.
    """
    position = 0
    while match := _FIELD.match(content, position, within):
        yield match
        position = match.end()


def _values(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for other, value in fields if other == name]


def _facts(fields: Sequence[tuple[bytes, bytes]], size: int) -> ContentFacts:
    first = dict(reversed(fields))
    return ContentFacts(
        subject=_readable(first.get(b"subject", b""), MAX_SUBJECT),
        header_from=_readable(first[b"from"], MAX_HEADER_FROM),
        header_message_id=_readable(first.get(b"message-id", b""), MAX_LINE) or None,
        size=size,
        senders=sender_addresses(_sender_fields(fields)),
    )


def _sender_fields(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[Field]:
    """Those of SENDER_FIELDS among names and values, in ASCII, as many as are worth the time: LONGEST_FIELD in all.

    A field that there is no room for is left out, like one that cannot be read.
    """
    room = LONGEST_FIELD
    for name, value in fields:
        if name in SENDER_FIELDS and len(value) <= room:
            room -= len(name) + len(value)
            yield name, name + b":" + value + b"\r\n" if value.isascii() else encode_field(name, value)


def _readable(value: bytes, length: int) -> str:
    text = decode_raw(value[:_MAX_DECODED].strip())
    if "=?" in text:
        text = _decoded_words(text.replace("\r\n", ""))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:length]


def _decoded_words(text: str) -> str:
    """RFC 2047 decoded as far as it can be; what cannot be stays as it was written."""
    try:
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "latin-1", "replace")
            for part, charset in decode_header(text)
        )
    except (HeaderParseError, LookupError, ValueError):
        return text


def senders_of(content: bytes) -> tuple[SenderAddress, ...]:
    """The addresses of inspected content that SES will check."""
    return sender_addresses(
        _sender_fields((match[1].lower(), match[2]) for match in _header_fields(content, len(content)))
    )


def prepare(content: bytes, trace: Trace, rewrite: SenderRewrite | None = None) -> bytes:
    """The bytes that SES is given: inspected `content` with these edits of its header section and no others.

    `X-Sesgate-Attempt` and our `Received` come first. Every `Bcc`, `Resent-Bcc`, `DKIM-Signature`, `X-SES-*` and
    `X-Sesgate-*` field goes: SES would show, refuse or obey them. A field with bytes above 127 is encoded. Senders are
    rewritten if `rewrite` says so. A missing Date, Message-ID or MIME-Version is added at the end. A missing empty
    line after the header section is put in.
    """
    fields: list[Field] = []
    end = 0
    for match in _header_fields(content, len(content)):
        end = match.end()
        name = match[1].lower()
        if name not in _REMOVED and not name.startswith(_REMOVED_PREFIXES):
            fields.append((name, match[0] if match[0].isascii() else encode_field(match[1], match[2])))
    if rewrite is not None:
        fields = rewritten(fields, rewrite)
    names = {name for name, _ in fields}
    date = format_datetime(trace.received_at)
    header = [f"X-Sesgate-Attempt: {trace.attempt_id}\r\n".encode("ascii"), _received(trace, date)]
    header += [field for _, field in fields]
    header += [line.encode("ascii") for name, line in _needed(trace, date) if name not in names]
    separator = b"" if content.startswith(b"\r\n", end) else b"\r\n"
    return b"".join([*header, separator, content[end:]])


def _needed(trace: Trace, date: str) -> list[tuple[bytes, str]]:
    """The fields that every message has (RFC 5322 section 3.6, RFC 2045 section 4), the same for each attempt."""
    return [
        (b"date", f"Date: {date}\r\n"),
        (b"message-id", f"Message-ID: <{trace.message_ulid}@{_name(trace.hostname)}>\r\n"),
        (b"mime-version", "MIME-Version: 1.0\r\n"),
    ]


def _received(trace: Trace, date: str) -> bytes:
    """The trace field of RFC 5321 section 4.4; `(sesgate)` is what `inspect` knows a loop by."""
    lines = (
        f"Received: from {_name(trace.helo)} ({_address_literal(trace.client_address)})",
        f" by {_name(trace.hostname)} (sesgate) with {_name(trace.protocol)} id {trace.message_ulid};",
        f" {date}",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


@lru_cache(_FEW_CLIENTS)
def _name(text: str) -> str:
    """A host name as the client gave it, without the characters that mean something else in a trace field."""
    return _NOT_IN_A_NAME.sub("-", text)[:255] or "unknown"


@lru_cache(_FEW_CLIENTS)
def _address_literal(client_address: str) -> str:
    try:
        address = ip_address(client_address.partition("%")[0])
    except ValueError:
        return "unknown"
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"  # noqa: PLR2004  the IP version
