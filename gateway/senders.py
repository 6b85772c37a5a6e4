"""The fields of a mail whose addresses SES wants to be verified, and the putting of a verified address in their place.

SES checks `From`, `Sender` and `Return-Path` of a raw mail
(https://docs.aws.amazon.com/ses/latest/dg/verify-addresses-and-domains.html); the reverse-path of SMTP it never sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from email.policy import default as modern
from email.utils import getaddresses

from gateway.header_encoding import MAX_LINE, address_tokens, encode_field

# By their names in small letters, as people know them.
SENDER_FIELDS = {b"from": "From", b"sender": "Sender", b"return-path": "Return-Path"}

LONGEST_FIELD = 8192  # octets; a longer list is not worth the time on the event loop, and SES has the last word
_LONGEST_SECOND_LOOK = 1024  # octets; the time that Python's parsers take grows with the square
_BLANKS = " \t\r\n"
_NO_BLANKS = str.maketrans("", "", _BLANKS)
_ROUTE = re.compile(r"\A@[A-Za-z0-9.-]+(?:,@[A-Za-z0-9.-]+)*:")  # RFC 5322 section 4.4, without blanks
_ONE_ADDRESS = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^\s"@]*+)@[^\s"@]*+')  # whether it is a valid one is not asked

# What nearly every mail has: one address, bare or in angle brackets behind a name without quotes and comments.
_PLAIN_ADDRESS = r"([\w!#$%&'*+/=?^`{|}~.-]++@[A-Za-z0-9.-]++)"
_PLAIN = re.compile(
    rf"[\w!#$%&'*+/=?^`{{|}}~. \t-]*+<{_PLAIN_ADDRESS}>[ \t]*+|[ \t]*+{_PLAIN_ADDRESS}[ \t]*+", re.ASCII
)

Field = tuple[bytes, bytes]
"""A header field: its name in small letters, and all its lines with their line ends, in ASCII."""


@dataclass(frozen=True, slots=True)
class SenderAddress:
    """An address that SES checks, and the field it stands in. It need not be one: `From: root` gives `root`."""

    field: str
    address: str
    is_readable: bool = True
    """Whether every reader sees these addresses in the field, and no other; if not, `address` is our best guess."""
    written: str = attribute(default="", compare=False, repr=False)
    """The whole value of the field, for `other_readings`."""


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
        """The bare address, without route and comments; what else stands there if it is none.

        Of a mailbox that is not readable it is our best guess: what is in the last brackets, put together.
        """
        if self.is_readable:
            return self._written_address
        angles = [text[1:-1] for kind, text in self.tokens if kind == "angle"]
        together = angles[-1].rpartition(":")[2] if angles else self._bare
        return together.translate(_NO_BLANKS)

    @property
    def _written_address(self) -> str:
        """The address as it is written; only of a readable mailbox it is the one that all see."""
        angles = [text[1:-1].strip(_BLANKS) for kind, text in self.tokens if kind == "angle"]
        return _ROUTE.sub("", angles[0], count=1) if angles else self._bare.strip(_BLANKS)

    @property
    def is_readable(self) -> bool:
        """Whether every reader must see the same one address, or none: nothing here is skipped or put together."""
        kinds = [kind for kind, text in self.tokens if kind != "comment" and text.strip(_BLANKS)]
        if "angle" in kinds[:-1]:
            return False
        if kinds[-1] != "angle" and not _holds_at(self.tokens):
            return True  # a name alone, such as `root`
        address = self._written_address
        return not address or _ONE_ADDRESS.fullmatch(address) is not None or not set(address) & set('@":,<>')

    @property
    def phrase_addresses(self) -> Iterator[str]:
        """What stands like an address in the display name, outside quotes: some readers stop at it."""
        if any(kind == "angle" for kind, _ in self.tokens) and _holds_at(self.tokens):
            yield from (word for word in self._bare.split() if "@" in word)

    @property
    def _bare(self) -> str:
        """What stands outside comments and angle brackets; each of those parts two words."""
        return "".join(" " if kind in ("comment", "angle") else text for kind, text in self.tokens)

    def with_address(self, address: str) -> str:
        """The mailbox with another address; its display name and comments stay as they were written."""
        if any(kind == "angle" for kind, _ in self.tokens):
            first, *others = (place for place, (kind, _) in enumerate(self.tokens) if kind == "angle")
            kept = [text for place, (_, text) in enumerate(self.tokens) if place not in others]
            return "".join((*kept[:first], f"<{address}>", *kept[first + 1 :]))
        if "@" not in self.address:  # a name alone, such as `root (Cron Daemon)`
            return f"{''.join(text for _, text in self.tokens).rstrip()} <{address}>"
        comments = "".join(f" {text}" for kind, text in self.tokens if kind == "comment")
        return f" {address}{comments}"


def sender_addresses(fields: Iterable[Field]) -> tuple[SenderAddress, ...]:
    """The addresses that SES checks, but for `Return-Path: <>`.

    A field whose quotes are not balanced, or that is very long, gives none: whoever wants to know an author must not
    take a mail without one for harmless, nor one that is not readable.
    """
    return tuple(one for name, field in fields if name in SENDER_FIELDS for one in _of_field(name, _value(field)))


def _of_field(name: bytes, value: str) -> Iterable[SenderAddress]:
    plain = _PLAIN.fullmatch(value) if len(value) <= LONGEST_FIELD else None
    if plain is None:
        return _of_any_field(name, value)
    return (SenderAddress(SENDER_FIELDS[name], plain[1] or plain[2], written=value),)


def _of_any_field(name: bytes, value: str) -> Iterator[SenderAddress]:
    boxes, is_readable = _mailboxes(value)
    for box in boxes:
        if box.address or name == b"from":
            yield SenderAddress(SENDER_FIELDS[name], box.address, is_readable, value)


def other_readings(value: str) -> frozenset[str] | None:
    """The addresses that less strict readers than ours may see in an address field; None when one of them gives up
    or the field is longer than any that people write.

    They are the two parsers of Python's email package, and whoever takes an address in a display name for the author.
    It takes some milliseconds for a long field, so it is asked only for credentials that may not send as everybody.
    """
    if len(value) > _LONGEST_SECOND_LOOK:
        return None
    unfolded = value.replace("\r\n", "")
    try:
        found = [address for _, address in _all_addresses(unfolded)]
        found += [address.addr_spec for address in modern.header_factory("From", unfolded).addresses]
    except Exception:  # noqa: BLE001  they raise whatever comes (IndexError, RecursionError, ...) at odd input
        return None
    found += [address for box in _mailboxes(value)[0] for address in box.phrase_addresses]
    return frozenset(address for address in found if "@" in address)


def _all_addresses(value: str) -> list[tuple[str, str]]:
    """What Python's lenient parser sees. Newer versions begin with a strict one, which sees nothing in odd input."""
    try:
        return getaddresses([value], strict=False)
    except TypeError:  # this Python has the lenient one only
        return getaddresses([value])


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
    first = _mailboxes(_value(written))[0][0]
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


def _holds_at(tokens: Iterable[tuple[str, str]]) -> bool:
    """Whether an @ stands there outside quotes, comments and angle brackets."""
    return any(kind == "atom" and "@" in text for kind, text in tokens)


def _is_group_name(tokens: Sequence[tuple[str, str]]) -> bool:
    """Whether what stands before a colon can be nothing but a name, even to a reader that decodes it first."""
    return not _holds_at(tokens) and not any(kind == "angle" or "=?" in text for kind, text in tokens)


def _mailboxes(value: str) -> tuple[list[_Mailbox], bool]:
    """The mailboxes of an address field, those in groups too, and whether every reader must see the same in it."""
    found: list[_Mailbox] = []
    if len(value) > LONGEST_FIELD:
        return found, False
    is_readable = True
    tokens: list[tuple[str, str]] = []
    for kind, text in [*(address_tokens(value) or ()), ("separator", ",")]:
        if kind != "separator":
            tokens.append((kind, text))
            continue
        if text == ":":
            is_readable = is_readable and _is_group_name(tokens)
        elif any(other != "comment" and other_text.strip(_BLANKS) for other, other_text in tokens):
            found.append(_Mailbox(tuple(tokens)))
            is_readable = is_readable and found[-1].is_readable
        tokens = []
    return found, is_readable
