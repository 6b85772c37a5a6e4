"""What SES reads of a message: its header section, and the mailboxes that stand in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import getaddresses, parseaddr


@dataclass(frozen=True)
class Header:
    """A header field, unfolded. The name is empty where a line starts with its colon."""

    name: str
    value: str


def header_section(raw: bytes) -> bytes:
    """Everything before the first empty line, whichever line ending comes first."""
    ends = [end for end in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n")) if end >= 0]
    return raw[: min(ends)] if ends else raw


def headers(section: bytes) -> list[Header]:
    """The fields in their order. Lines that are no field end the section, as in any mail parser."""
    found: list[tuple[str, list[str]]] = []
    for line in section.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        if line[:1] in {" ", "\t"} and found:
            found[-1][1].append(line)
            continue
        name, colon, value = line.partition(":")
        if not colon or " " in name.rstrip():
            break
        found.append((name.rstrip(), [value]))
    return [Header(name, "".join(parts).strip()) for name, parts in found]


def values(fields: Iterable[Header], name: str) -> list[str]:
    wanted = name.lower()
    return [field.value for field in fields if field.name.lower() == wanted]


def first(fields: Iterable[Header], name: str) -> str | None:
    return next(iter(values(fields, name)), None)


def decoded(value: str) -> str:
    """Encoded words (RFC 2047) as the reader sees them; what cannot be decoded stays as it is."""
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError):
        return value


def mailbox(address: str) -> str:
    """`a@b` of `Name <a@b>`. What has no angle brackets is taken as it stands, blanks and all."""
    if "<" not in address:
        return address
    return parseaddr(address)[1]


def mailboxes(fields: Sequence[Header], *names: str) -> list[str]:
    """The addr-specs in the named address fields, in order."""
    listed = [value for name in names for value in values(fields, name)]
    return [address for _, address in getaddresses(listed) if address]


def with_from(fields: Sequence[Header], sender: str) -> list[Header]:
    """SES v2's `FromEmailAddress` replaces the From field of raw content."""
    kept = [field for field in fields if field.name.lower() != "from"]
    return [Header("From", sender), *kept]
