"""Our protocol in the shape of aiosmtpd's: its constructor's arguments, and its handlers' hooks behind ours."""

from __future__ import annotations

import asyncio
import math
import ssl
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import DATA_SIZE_DEFAULT
from aiosmtpd.smtp import Envelope as SMTPEnvelope

from gateway.credentials import Credential, Secret, digest_of
from gateway.setting_values import HostPort, Listener
from gateway.smtp.admission import Admission, OnlyLocal
from gateway.smtp.auth import Authenticator
from gateway.smtp.backoff import BackOff
from gateway.smtp.commits import Commits
from gateway.smtp.connection import FrontState
from gateway.smtp.connections import Connections
from gateway.smtp.data import LargePlaces, OctetsInFlight
from gateway.smtp.disk import FreeSpace
from gateway.smtp.handler import Handler, HandlerOptions
from gateway.smtp.limits import Limits
from gateway.smtp.lookups import LookUps
from gateway.smtp.protocol import GatewaySMTP
from gateway.smtp.session import Session, Transaction
from tests.gateway.smtp.running import MessageDouble, SuppressionDouble

_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))

_ADDRESS = HostPort("127.0.0.1", 8025)
# Who aiosmtpd's tests say they are.
_GOOD = Credential(
    name="goodlogin",
    application="aiosmtpd's tests",
    secrets=(Secret(1, digest_of("goodpasswd"), datetime(2026, 1, 1, tzinfo=UTC), None, None),),
)


class _Inline(Executor):
    """A thread fewer: what would be done aside is done at once."""

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*args, **kwargs))
        return future


class Hooked(Handler):
    """Our handler up to the content, which goes to the hook of aiosmtpd's handler uninspected.

    What content must be is no affair of the protocol: aiosmtpd's mails mostly have no From, and would all be refused.
    """

    def __init__(
        self, hooks: Any, max_message_bytes: int, loop: asyncio.AbstractEventLoop, *, requires_auth: bool
    ) -> None:
        aside = _Inline()
        options = HandlerOptions(
            max_message_bytes=max_message_bytes,
            max_recipients=1000,
            suppressed_recipients="drop",
            refuse_bare_lf=False,
            requires_auth=requires_auth,
        )
        room = FreeSpace(Path("/"), 0, aside)
        commits, lookups = Commits(MessageDouble(), 5.0, loop), LookUps(SuppressionDouble(), 5.0, loop)
        super().__init__(options, commits, lookups, room, aside)
        self._hooks = hooks

    async def handle_DATA(self, session: Session, transaction: Transaction, content: bytes) -> str:  # noqa: N802  aiosmtpd's name
        hook = getattr(self._hooks, "handle_DATA", None)
        if hook is None:
            return "250 2.0.0 OK"
        envelope = SMTPEnvelope()
        envelope.mail_from = transaction.mail_from
        envelope.rcpt_tos = [str(path) for path in transaction.forward_paths.values()]
        envelope.content = envelope.original_content = content
        return str(await hook(None, session, envelope))


class _OneContext:
    """In the place of certificates that are read from files."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def context(self, _listener: Listener) -> ssl.SSLContext:
        return self._context


class UpstreamSMTP(GatewaySMTP):
    """Takes what aiosmtpd's tests hand to a constructor. What we have no counterpart of is left out of account.

    The listener is that of a lan, or a modern one where TLS is required.
    """

    def __init__(
        self,
        handler: Any,
        *,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        hostname: str = "localhost",
        timeout: float = 300.0,
        loop: asyncio.AbstractEventLoop | None = None,
        tls_context: ssl.SSLContext | None = None,
        require_starttls: bool = False,
        auth_required: bool = False,
        **_: Any,
    ) -> None:
        limits = Limits(idle=timeout, stranger_idle=timeout, linger=0.1)
        loop = loop or asyncio.get_event_loop()
        admission = Admission(OnlyLocal(_EVERYBODY))
        admission.learn(OnlyLocal(_EVERYBODY).all(), math.inf)
        max_message_bytes = data_size_limit or DATA_SIZE_DEFAULT
        admission = Admission(OnlyLocal(_EVERYBODY))
        admission.learn((*OnlyLocal(_EVERYBODY).all(), _GOOD), math.inf)
        state = FrontState(
            hostname=hostname,
            max_message_bytes=max_message_bytes,
            admission=admission,
            authenticator=Authenticator(admission, BackOff(), limits.failed_auths),
            limits=limits,
            connections=Connections(limits),
            large_places=LargePlaces(limits.large_contents, limits.large_contents_per_client),
            in_flight=OctetsInFlight(limits.octets_in_flight),
            certificates=None if tls_context is None else _OneContext(tls_context),  # type: ignore[arg-type]  # a double
        )
        hooked = Hooked(handler, max_message_bytes, loop, requires_auth=auth_required)
        super().__init__(hooked, state, loop, Listener(_ADDRESS, "modern" if require_starttls else "lan"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ours are received by `gateway.smtp.reception`, which takes their place first."""
        if self.session is None:
            self.arrive(transport.get_extra_info("peername"))
        super().connection_made(transport)
