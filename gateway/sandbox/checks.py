"""What SES refuses before it accepts a message, in its own words.

Sources: https://docs.aws.amazon.com/ses/latest/dg/quotas.html, …/header-fields.html, …/troubleshoot-error-messages.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.sandbox.errors import bad_request
from gateway.sandbox.mime import Header, mailbox

MAX_RECIPIENTS: Final = 50
MAX_LINE: Final = 1000
"""Octets with the CRLF (RFC 5321, section 4.5.3.1.6)."""
MAX_HEADER_SECTION: Final = 256 * 1024
"""AWS does not publish where `Header section too long.` begins."""
MAX_BYTES_V1: Final = 10 * 1024 * 1024
MAX_BYTES_V2: Final = 40 * 1024 * 1024
"""Both are counted after base64."""

SINGLE_USE_HEADERS: Final = frozenset(
    [
        "accept-language",
        "archived-at",
        "auto-submitted",
        "comments",
        "content-alternative",
        "content-class",
        "content-description",
        "content-disposition",
        "content-features",
        "content-id",
        "content-language",
        "content-length",
        "content-location",
        "content-md5",
        "content-transfer-encoding",
        "content-type",
        "date",
        "delivered-to",
        "disposition-notification-options",
        "disposition-notification-to",
        "dkim-signature",
        "domainkey-signature",
        "errors-to",
        "from",
        "importance",
        "in-reply-to",
        "keywords",
        "list-archive",
        "list-help",
        "list-id",
        "list-owner",
        "list-post",
        "list-subscribe",
        "list-unsubscribe",
        "list-unsubscribe-post",
        "message-id",
        "mime-version",
        "organization",
        "original-from",
        "original-message-id",
        "original-recipient",
        "original-subject",
        "originator-return-address",
        "precedence",
        "priority",
        "references",
        "reply-to",
        "return-path",
        "return-receipt-to",
        "sender",
        "sensitivity",
        "subject",
        "thread-index",
        "thread-topic",
        "user-agent",
        "vbr-info",
    ]
)

_CONTROL_OR_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_NOT_IN_LOCAL: Final = re.compile(r"[()<>,;:\\\"\[\]@]")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9._-]+")
_ADDRESS_LITERAL: Final = re.compile(r"\[[^\[\]\\]+\]")
_QUOTED_LOCAL: Final = re.compile(r'"(?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\[\x20-\x7e])*"')


def address_fault(address: str) -> str | None:
    """Why SES does not take this mailbox, or None if it does."""
    local, at, domain = address.rpartition("@")
    if not at:
        return "Missing final '@domain'"
    if not local:
        return "Missing local name"
    if not domain:
        return "Missing domain"
    return _local_fault(local) or _domain_fault(domain)


def _local_fault(local: str) -> str | None:
    if _QUOTED_LOCAL.fullmatch(local):
        return None
    if _CONTROL_OR_BLANK.search(local) or not local.isascii():
        return "Local address contains control or whitespace"
    if _NOT_IN_LOCAL.search(local):
        return "Local address contains illegal character"
    if local.startswith("."):
        return "Local address starts with dot"
    if local.endswith("."):
        return "Local address ends with dot"
    return "Local address contains dot-dot" if ".." in local else None


def _domain_fault(domain: str) -> str | None:
    if _ADDRESS_LITERAL.fullmatch(domain):
        return None
    if _CONTROL_OR_BLANK.search(domain):
        return "Domain contains control or whitespace"
    if not _DOMAIN.fullmatch(domain):
        return "Domain contains illegal character"
    if domain.startswith("."):
        return "Domain starts with dot"
    return "Domain contains dot-dot" if ".." in domain else None


def require_recipients(recipients: Sequence[str]) -> None:
    """One illegal address refuses the whole call."""
    if not recipients:
        raise bad_request("Missing required header 'To'.")
    if len(recipients) > MAX_RECIPIENTS:
        raise bad_request(f"Recipient count exceeds {MAX_RECIPIENTS}.")
    for recipient in recipients:
        require_address(mailbox(recipient))


def require_address(address: str) -> None:
    fault = address_fault(address)
    if fault is not None:
        raise bad_request(fault)


def require_size(encoded_size: int, limit: int) -> None:
    if encoded_size == 0:
        raise bad_request("Empty raw message.")
    if encoded_size > limit:
        raise bad_request(f"Message length is more than {limit} bytes long: '{encoded_size}'.")


def require_header_section(section: bytes, fields: Iterable[Header]) -> None:
    if len(section) > MAX_HEADER_SECTION:
        raise bad_request("Header section too long.")
    names = [field.name for field in fields]
    if "" in names:
        raise bad_request("Empty header names are illegal.")
    counted = Counter(name.lower() for name in names)
    for name in names:
        if counted[name.lower()] > 1 and name.lower() in SINGLE_USE_HEADERS:
            raise bad_request(f"Duplicate header '{name}'.")


def require_lines(raw: bytes) -> None:
    """No line over 1000 octets. Jumps from line end to line end, for messages of tens of megabytes."""
    start = 0
    while len(raw) - start > MAX_LINE:
        end = raw.rfind(b"\n", start, start + MAX_LINE)
        if end < 0:
            raise bad_request(f"Line length exceeds {MAX_LINE} octets.")
        start = end + 1


def require_from(senders: Sequence[str]) -> None:
    if not senders:
        raise bad_request("Missing required header 'From'.")
    for sender in senders:
        require_address(sender)
