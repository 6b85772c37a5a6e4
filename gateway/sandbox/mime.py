"""What SES reads of a message: its header section, and the mailboxes that stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final

_COMMENT: Final = re.compile(r"\s*\([^()]*\)")
_EMPTY_GROUP: Final = re.compile(r":\s*;$")


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
    """`a@b` of `Name <a@b>`, blanks and all: the parsers of the standard library would repair what SES refuses."""
    opened = address.rfind("<")
    return address if opened < 0 else address[opened + 1 :].partition(">")[0]


def split_addresses(value: str) -> list[str]:
    """The addresses of a field. A comma inside a quoted display name separates nothing."""
    parts, quoted = [""], False
    for character in value:
        quoted ^= character == '"'
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [stripped for part in parts if (stripped := part.strip())]


def mailboxes(fields: Sequence[Header], *names: str) -> list[str]:
    """The addr-specs in the named address fields, in order, without comments and empty groups (RFC 5322, 3.4)."""
    listed = [part for name in names for value in values(fields, name) for part in split_addresses(value)]
    return [mailbox(_without_comment(part)) for part in listed if not _EMPTY_GROUP.search(part)]


def _without_comment(address: str) -> str:
    return address if '"' in address else _COMMENT.sub("", address)


def with_from(fields: Sequence[Header], sender: str) -> list[Header]:
    """SES v2's `FromEmailAddress` replaces the From field of raw content."""
    kept = [field for field in fields if field.name.lower() != "from"]
    return [Header("From", sender), *kept]
