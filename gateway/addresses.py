"""Mailboxes: strict where SMTP names them, lenient where SES reports them, and one key to compare them by."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parseaddr

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 section 3.1

MAX_LOCAL_PART = 64  # RFC 5321 section 4.5.3.1.1
MAX_DOMAIN = 255  # RFC 5321 section 4.5.3.1.2
MAX_LABEL = 63  # RFC 1035 section 2.3.4
MAX_PATH = 256  # RFC 5321 section 4.5.3.1.3, with the angle brackets
_EMPTY_LOCAL_PART = '""'
_ROUTING_CHARACTERS = frozenset("%!@:")


class AddressError(ValueError):
    """The text is no mailbox; the message says why, without repeating the text."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox as RFC 5321 section 4.1.2 spells it; ASCII only, since SES takes no SMTPUTF8."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def key(self) -> str:
        """What two spellings of one mailbox share; suppressions are stored and asked by it."""
        return address_key(str(self))


def parse_mailbox(text: str) -> Mailbox:
    """Read `local-part@domain`; AddressError when it is not one."""
    _require_plain(text)
    local_part, at, domain = text.rpartition("@")
    if not at or not local_part or not domain:
        raise AddressError("an address needs a local part, an @ and a domain")
    if not (_DOT_STRING.fullmatch(local_part) or _QUOTED_STRING.fullmatch(local_part)):
        raise AddressError("the local part is malformed")
    if not _DOMAIN.fullmatch(domain):
        raise AddressError("the domain is malformed")
    if len(local_part) > MAX_LOCAL_PART:
        raise AddressError(f"the local part is longer than {MAX_LOCAL_PART} octets")
    if len(domain) > MAX_DOMAIN or len(text) > MAX_PATH - 2:
        raise AddressError("the address is too long")
    return Mailbox(local_part, domain)


def parse_domain(text: str) -> str:
    """The text, if it is a domain as it stands behind the @ of an address; AddressError when it is not one."""
    _require_plain(text)
    if not _DOMAIN.fullmatch(text):
        raise AddressError("the domain is malformed")
    if len(text) > MAX_DOMAIN:
        raise AddressError("the domain is too long")
    return text


def _require_plain(text: str) -> None:
    if not text.isascii():
        raise AddressError("only ASCII addresses can be sent to (write the domain in its xn-- form)")
    if not text.isprintable():
        raise AddressError("control characters are not allowed in an address")


def parse_forward_path(text: str) -> Mailbox:
    """Like `parse_mailbox`, and refuses local parts that ask a host to route on, such as `user%host@gateway`."""
    mailbox = parse_mailbox(text)
    if _ROUTING_CHARACTERS & set(mailbox.local_part):
        raise AddressError("local parts with %, !, @ or : ask for routing, which is not done here")
    return mailbox


def address_key(address: str) -> str:
    """The key of an address that is already known to be one: NFC, case folded, domain in its ASCII form.

    RFC 5321 leaves the case of the local part to its host; a suppression must hold whichever case is used. The quotes
    of a quoted local part are spelling, not content (section 4.1.2): `"bob"@example.com` is `bob@example.com`. Those of
    an empty one stay, for a key that begins with @ is that of a whole domain.
    """
    local_part, _, domain = unicodedata.normalize("NFC", address.strip()).rpartition("@")
    domain = domain.casefold().rstrip(".")
    if not domain.isascii():
        with suppress(UnicodeError):  # not a name of the DNS then; it is still the same text each time
            domain = a_labels(domain)
    if _QUOTED_STRING.fullmatch(local_part):
        local_part = _QUOTED_PAIR.sub(r"\1", local_part[1:-1])
    return f"{local_part.casefold() or _EMPTY_LOCAL_PART}@{domain}"


def is_short_enough(domain: str) -> bool:
    """Whether the domain can be a name of the DNS by its length, as it is written and in its compatible form (NFKC).

    Python's codec looks at the length last, after work that grows with its square; of one character the compatible
    form can make eighteen.
    """
    return _fits(domain) and _fits(unicodedata.normalize("NFKC", domain))


def _fits(domain: str) -> bool:
    return len(domain) <= MAX_DOMAIN and all(len(label) <= MAX_LABEL for label in _DOTS.split(domain))


def a_labels(domain: str) -> str:
    """The domain as IDNA 2003 writes it in ASCII (RFC 3490); UnicodeError when it is no name of the DNS."""
    if not is_short_enough(domain):
        raise UnicodeError("the domain or a label of it is too long")
    return domain.encode("idna").decode("ascii")


def reported_address(text: str) -> str:
    """The bare address in what SES reports (`Name <a@b>` and `a@b` both occur); the trimmed text when there is none."""
    _, address = parseaddr(text)
    return address if "@" in address else text.strip()
