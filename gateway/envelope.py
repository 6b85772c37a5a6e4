"""What one accepted mail transaction is, frozen."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.addresses import Mailbox

LOCAL_CREDENTIAL = "local"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a mail transaction came from: the credential it was admitted under, and the SMTP client."""

    credential: str
    client_address: str
    helo: str
    protocol: str  # as RFC 3848 names it: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA


@dataclass(frozen=True, slots=True)
class Envelope:
    """A mail transaction (RFC 5321 section 3.3) whose content was received whole and may be stored.

    `reverse_path` is None for the null reverse-path. `forward_paths` holds each mailbox once, in the order
    of their RCPT commands. `content` has CRLF line ends only and no dot-stuffing.
    """

    reverse_path: Mailbox | None
    forward_paths: tuple[Mailbox, ...]
    content: bytes
    origin: Origin
