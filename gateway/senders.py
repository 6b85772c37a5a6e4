"""The fields of a mail whose addresses SES wants to be verified, and the putting of a verified address in their place.

SES checks `From`, `Sender` and `Return-Path` of a raw mail
(https://docs.aws.amazon.com/ses/latest/dg/verify-addresses-and-domains.html); the reverse-path of SMTP it never sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.header_encoding import MAX_LINE, address_tokens, encode_field

# By their names in small letters, as people know them.
SENDER_FIELDS = {b"from": "From", b"sender": "Sender", b"return-path": "Return-Path"}

LONGEST_FIELD = 8192  # octets; a longer list is not worth the time on the event loop, and SES has the last word
_BLANKS = re.compile(r"\s+")

Field = tuple[bytes, bytes]
"""A header field: its name in small letters, and all its lines with their line ends, in ASCII."""


@dataclass(frozen=True, slots=True)
class SenderAddress:
    """An address that SES checks, and the field it stands in. It need not be one: `From: root` gives `root`."""

    field: str
    address: str


@dataclass(frozen=True, slots=True)
class SenderRewrite:
    """The sender addresses of a mail that SES would refuse, and the verified one to put in their place."""

    unverified: frozenset[str]
    verified: str


@dataclass(frozen=True, slots=True)
class _Mailbox:
    """A mailbox of an address field, as the tokens that it was written in."""

    tokens: tuple[tuple[str, str], ...]

    @property
    def address(self) -> str:
        """The bare address, without route (RFC 5322 section 4.4) and comments; what else stands there if it is none."""
        angles = [text[1:-1] for kind, text in self.tokens if kind == "angle"]
        if angles:
            return _BLANKS.sub("", angles[-1]).rpartition(":")[2]
        bare = "".join(text for kind, text in self.tokens if kind != "comment")
        return bare.strip() if '"' in bare or "@" not in bare else _BLANKS.sub("", bare)

    def with_address(self, address: str) -> str:
        """The mailbox with another address; its display name and comments stay as they were written."""
        if any(kind == "angle" for kind, _ in self.tokens):
            return "".join(f"<{address}>" if kind == "angle" else text for kind, text in self.tokens)
        if "@" not in self.address:  # a name alone, such as `root (Cron Daemon)`
            return f"{''.join(text for _, text in self.tokens).rstrip()} <{address}>"
        comments = "".join(f" {text}" for kind, text in self.tokens if kind == "comment")
        return f" {address}{comments}"


def sender_addresses(fields: Iterable[Field]) -> tuple[SenderAddress, ...]:
    """The addresses that SES checks, but for `Return-Path: <>`.

    A field that cannot be read, because its quotes are not balanced or it is very long, gives none: whoever wants to
    know an author must not take a mail without one for harmless.
    """
    return tuple(
        SenderAddress(SENDER_FIELDS[name], box.address)
        for name, field in fields
        if name in SENDER_FIELDS
        for box in _mailboxes(_value(field))
        if box.address or name == b"from"
    )


def rewritten(fields: Sequence[Field], rewrite: SenderRewrite) -> list[Field]:
    """The fields of a header section with senders that SES takes.

    A `From` with an unverified address becomes the verified one under the display name of its first mailbox; what it
    was becomes the `Reply-To`, unless there is one. An unverified `Return-Path` goes, and so does an unverified
    `Sender` beside a new From; beside a From that stays it becomes the verified address. Other fields are not touched.
    """
    author = next((field for field in fields if field[0] == b"from" and _is_unverified(field, rewrite)), None)
    kept = [one for field in fields for one in _rewritten_field(field, rewrite, has_new_author=author is not None)]
    if author is not None and b"@" in author[1] and not any(name == b"reply-to" for name, _ in kept):
        kept.append((b"reply-to", _field("Reply-To", _value(author[1]))))
    return kept


def _rewritten_field(field: Field, rewrite: SenderRewrite, *, has_new_author: bool) -> list[Field]:
    name, written = field
    if not _is_unverified(field, rewrite):
        return [field]
    if name == b"return-path" or (name == b"sender" and has_new_author):
        return []
    first = _mailboxes(_value(written))[0]
    return [(name, _field(written.decode("ascii").partition(":")[0], first.with_address(rewrite.verified)))]


def _is_unverified(field: Field, rewrite: SenderRewrite) -> bool:
    return any(one.address in rewrite.unverified for one in sender_addresses((field,)))


def _value(field: bytes) -> str:
    return field.decode("ascii").partition(":")[2].removesuffix("\r\n")


def _field(name: str, value: str) -> bytes:
    """`name: value`, folded anew only where a line has become too long."""
    field = f"{name}:{value}\r\n".encode("ascii")
    if max(map(len, field.split(b"\r\n"))) > MAX_LINE:
        return encode_field(name.strip().encode("ascii"), value.encode("ascii"))
    return field


def _mailboxes(value: str) -> list[_Mailbox]:
    """The mailboxes of an address field, those in groups too; none when it cannot be read."""
    found: list[_Mailbox] = []
    if len(value) > LONGEST_FIELD:
        return found
    tokens: list[tuple[str, str]] = []
    for kind, text in [*(address_tokens(value) or ()), ("separator", ",")]:
        if kind != "separator":
            tokens.append((kind, text))
            continue
        if text != ":" and any(other != "comment" and other_text.strip() for other, other_text in tokens):
            found.append(_Mailbox(tuple(tokens)))
        tokens = []
    return found
