"""Our protocol in the shape of aiosmtpd's: its constructor's arguments, and its handlers' hooks behind ours."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Executor, Future
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import DATA_SIZE_DEFAULT
from aiosmtpd.smtp import Envelope as SMTPEnvelope

from gateway.smtp.admission import Admission, OnlyLocal
from gateway.smtp.auth import Authenticator
from gateway.smtp.backoff import BackOff
from gateway.smtp.connections import Connections
from gateway.smtp.data import LargePlaces, OctetsInFlight
from gateway.smtp.disk import FreeSpace
from gateway.smtp.handler import Handler, HandlerOptions
from gateway.smtp.limits import Limits
from gateway.smtp.protocol import FrontState, GatewaySMTP
from gateway.smtp.session import Session, Transaction
from tests.gateway.smtp.running import MessageDouble, SuppressionDouble

_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


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

    def __init__(self, hooks: Any, max_message_bytes: int) -> None:
        aside = _Inline()
        options = HandlerOptions(
            max_message_bytes=max_message_bytes,
            max_recipients=1000,
            suppressed_recipients="drop",
            refuse_bare_lf=False,
            patience=5.0,
        )
        room = FreeSpace(Path("/"), 0, aside)
        super().__init__(options, MessageDouble(), SuppressionDouble(), room, aside, aside)
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


class UpstreamSMTP(GatewaySMTP):
    """Takes what aiosmtpd's tests hand to a constructor. What we have no counterpart of is left out of account."""

    def __init__(
        self,
        handler: Any,
        *,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        hostname: str = "localhost",
        timeout: float = 300.0,
        loop: asyncio.AbstractEventLoop | None = None,
        **_: Any,
    ) -> None:
        limits = Limits(idle=timeout, linger=0.1)
        admission = Admission(OnlyLocal(_EVERYBODY))
        admission.learn(OnlyLocal(_EVERYBODY).all(), math.inf)
        max_message_bytes = data_size_limit or DATA_SIZE_DEFAULT
        state = FrontState(
            hostname=hostname,
            max_message_bytes=max_message_bytes,
            admission=admission,
            authenticator=Authenticator(admission, BackOff(), limits.failed_auths),
            limits=limits,
            connections=Connections(limits),
            large_places=LargePlaces(limits.large_contents, limits.large_contents_per_client),
            in_flight=OctetsInFlight(limits.octets_in_flight),
        )
        super().__init__(Hooked(handler, max_message_bytes), state, loop or asyncio.get_event_loop())
