"""What is remembered of a connection, and of the mail transaction that is under way on it."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address

from aiosmtpd.smtp import Envelope as SMTPEnvelope
from aiosmtpd.smtp import Session as SMTPSession

from gateway.addresses import Mailbox
from gateway.credentials import Credential


class Session(SMTPSession):
    """Who the client is, and under which credential it sends.

    `credential` is None while it may not send at all. `secret_id` is that of the secret it authenticated with; None
    means that its network is its credential.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: IPv4Address | IPv6Address | None,
        credential: Credential | None = None,
    ) -> None:
        super().__init__(loop)
        self.address = address
        self.client_address = "" if address is None else str(address)
        self.credential = credential
        self.secret_id: int | None = None
        self.failed_auths = 0
        self.messages = 0

    @property
    def tls(self) -> bool:
        return self.ssl is not None

    @property
    def is_local(self) -> bool:
        """Whether the client is on this machine, so that nobody listens in between."""
        return self.address is not None and self.address.is_loopback

    @property
    def protocol(self) -> str:
        """As RFC 3848 names it."""
        if not self.extended_smtp:
            return "SMTP"
        return "ESMTP" + "S" * self.tls + "A" * (self.secret_id is not None)


class Transaction(SMTPEnvelope):
    """A mail transaction as it comes about."""

    def __init__(self) -> None:
        super().__init__()
        self.reverse_path: Mailbox | None = None
        self.forward_paths: dict[tuple[str, str], Mailbox] = {}
        self.rcpt_commands = 0

    @property
    def is_open(self) -> bool:
        return self.mail_from is not None
