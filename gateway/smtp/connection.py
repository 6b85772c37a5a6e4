"""One connection of the front: how it begins, what ends it, and how lines pass over it. What they say is `protocol`'s.

Kept of aiosmtpd are the life of a connection, its sessions and envelopes.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from typing import cast

from aiosmtpd.smtp import SMTP

from gateway.credentials import Credential
from gateway.logs import get_logger
from gateway.setting_values import HostPort, Listener
from gateway.smtp import auth, policy, replies
from gateway.smtp.admission import Admission
from gateway.smtp.connections import Connections
from gateway.smtp.data import BLOCK, BlockReader, LargePlaces, OctetsInFlight
from gateway.smtp.handler import Handler
from gateway.smtp.limits import Limits
from gateway.smtp.replies import CloseError
from gateway.smtp.session import Session, Transaction
from gateway.smtp.tls import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, Certificates, why_failed

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FrontState:
    """What all connections share."""

    hostname: str
    max_message_bytes: int
    admission: Admission
    authenticator: auth.Authenticator
    limits: Limits
    connections: Connections
    large_places: LargePlaces
    in_flight: OctetsInFlight
    certificates: Certificates | None = None


@cache
def _as_aiosmtpd_begins() -> Mapping[str, object]:
    """What its constructor gives each connection. It looks through all names of the class and of the handler for that,
    which takes longer than a mail does; so it is asked once, without a handler, and everything of the loop is left out.
    """
    with closing(asyncio.new_event_loop()) as loop:
        made = vars(SMTP(None, hostname="localhost", loop=loop))
        reader = asyncio.StreamReader(loop=loop)
        of_the_loop = vars(asyncio.StreamReaderProtocol(reader, client_connected_cb=lambda *_: None, loop=loop))
    of_the_object = {*of_the_loop, "loop", "_smtp_methods", "_auth_methods"}
    return {name: value for name, value in made.items() if name not in of_the_object}


_LAN = Listener(HostPort("127.0.0.1", 2525))


class ClientConnection(SMTP):
    """A connection and its session, from the place it takes to the place it gives back."""

    line_length_limit = (
        BLOCK  # what aiosmtpd makes the buffer of its reader; lines are measured where content is inspected
    )

    # Of asyncio's StreamReaderProtocol.
    _paused: bool
    _connection_lost: bool
    _reader: BlockReader
    session: Session
    envelope: Transaction

    def __init__(
        self, handler: Handler, front: FrontState, loop: asyncio.AbstractEventLoop, listener: Listener = _LAN
    ) -> None:
        vars(self).update(_as_aiosmtpd_begins())
        self.hostname = front.hostname
        self.loop = loop
        reader = BlockReader(limit=BLOCK, loop=loop)
        asyncio.StreamReaderProtocol.__init__(self, reader, client_connected_cb=self._cb_client_connected, loop=loop)
        self._handler = handler
        self._front = front
        self._listener = listener
        self._limits = front.limits
        self._client = policy.client_address(None)
        self._client_key = ""
        self._idle = front.limits.idle
        self._departed = False
        self._wire: asyncio.Transport | None = None
        self._is_greeted = False
        self._makes_room = False
        self._awaits_command = False
        self._draining = False
        self._replied_at = 0.0
        self._owes_answer = False
        self._errors = 0
        self._junk = 0
        self._deadline = 0.0
        self._last_message_at = self._connected_at = loop.time()
        self._set_rset_state()

    def arrive(self, peer: object) -> bool:
        """Take a place for the client at this address of a socket; None if a proxy does not know it.

        False when there is no place. It comes before `connection_made`, which may have to wait for a handshake.
        """
        self._client = policy.client_address(peer)
        self._client_key = policy.client_key(self._client)
        return self._take_place(is_trusted=self._credential_of_network() is not None)

    def _take_place(self, *, is_trusted: bool) -> bool:
        self._idle = self._limits.idle if is_trusted else self._limits.stranger_idle
        # Not counted are the applications of this machine, and those of whom a proxy does not know who they are.
        is_counted = self._client is not None and not self._client.is_loopback
        return self._front.connections.enter(self, self._client_key, is_trusted=is_trusted, is_counted=is_counted)

    def _credential_of_network(self) -> Credential | None:
        return None if self._handler.requires_auth else self._front.admission.of_address(self._client)

    def depart(self) -> None:
        """Give the place back."""
        self._departed = True
        self._front.connections.leave(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; `arrive` has given the client its place."""
        self._wire = cast("asyncio.Transport", transport)  # uvloop's are not instances of it
        super().connection_made(transport)
        self.session.ssl = transport.get_extra_info("ssl_object")

    def connection_lost(self, error: Exception | None) -> None:
        if not self._departed:
            self.depart()
            super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """A client that said all it has to say may still read: what it sent is carried out, and answered."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return not self.session.tls  # TLS closes both directions

    def _create_session(self) -> Session:
        return Session(self.loop, self._client, self._credential_of_network())

    def _set_rset_state(self) -> None:
        self.envelope = Transaction()

    # Ends and time limits. One timer a connection is moved on when it fires, not at each command.

    @property
    def in_transaction(self) -> bool:
        return self.envelope.is_open

    @property
    def owes_answer(self) -> bool:
        return self._owes_answer

    @property
    def idle_since(self) -> float | None:
        if not self._is_greeted:
            is_in_handshake = self._wire is None and self._listener.implicit_tls
            return None if is_in_handshake else self._connected_at
        # A transaction of a stranger comes to nothing, and must not keep a place that an application needs to log in.
        in_transaction = self.in_transaction and self.session.credential is not None
        if not self._awaits_command or in_transaction or self._writer.is_closing():
            return None
        # As when draining: who has just been answered may be about to say QUIT.
        has_answer = self.session.messages > 0 and self.loop.time() < self._replied_at + self._limits.farewell
        return None if has_answer else self._replied_at

    def make_room(self) -> None:
        self._makes_room = True
        if self._is_greeted:
            self._make_room()

    def _make_room(self) -> None:
        self._say_and_close(replies.MAKING_ROOM)
        self.loop.call_later(self._limits.linger, self.abort)  # a client that does not read would keep it open

    def drain(self) -> None:
        self._draining = True
        self._end_when_idle()

    def _end_when_idle(self) -> None:
        """Close an idle session while draining, but leave who has just been answered the time to say QUIT.

        To a client that reads 421 as the reply to its QUIT, the message that was accepted before looks like a failure.
        """
        if not self._awaits_command or self.in_transaction or self._writer.is_closing():
            return
        farewell_at = self._replied_at + self._limits.farewell
        if self.loop.time() < farewell_at:
            self.loop.call_at(farewell_at, self._end_when_idle)
        else:
            self._say_and_close(replies.SHUTTING_DOWN)

    def end(self) -> None:
        """Say so to a client that would read it now: it sends a command and waits, and is not amid its content."""
        if self._awaits_command and not self._writer.is_closing():
            self._say_and_close(replies.SHUTTING_DOWN)
        else:
            self.abort()

    def abort(self) -> None:
        if self._wire is None:
            self.depart()  # it has not come as far as a connection
        else:
            self._wire.abort()

    def _say_and_close(self, reply: str) -> None:
        self._writer.write(line_of(reply))
        self._writer.close()

    def _reset_timeout(self, duration: float | None = None) -> None:
        self._deadline = self.loop.time() + (duration or self._idle)
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_at(self._deadline, self._timeout_cb)

    def _timeout_cb(self) -> None:
        now = self.loop.time()
        if now < self._deadline:
            self._timeout_handle = self.loop.call_at(min(self._deadline, now + self._idle), self._timeout_cb)
            return
        if not self._writer.is_closing():
            log.info("smtp.timeout", client=self.session.client_address)
            self._say_and_close(replies.IDLE_TOO_LONG)
        if self._wire is not None and self._wire.get_write_buffer_size():
            self._wire.abort()  # a client that does not read would keep a connection that is only closed

    # Lines

    async def push(self, status: str | bytes) -> None:
        """Send a reply; ConnectionError when the client is gone."""
        self._writer.write(line_of(status) if isinstance(status, str) else status + b"\r\n")
        self._replied_at = self.loop.time()
        self._owes_answer = False
        if self._paused or self._connection_lost or self._writer.is_closing():  # else there is nothing to wait for
            await self._writer.drain()

    async def _read_line(self) -> bytes | None:
        if self._writer.is_closing():
            return None
        self._awaits_command = True
        if self._draining:
            self._end_when_idle()
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            raise CloseError(replies.COMMAND_TOO_LONG) from None
        finally:
            self._awaits_command = False

    async def _close(self, reply: str) -> None:
        """Say the last reply, and read on for a moment: closing at once would take the reply away from a client that
        is still sending.
        """
        self._writer.write(line_of(reply))
        self._deadline = math.inf
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(BLOCK):
                    pass

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        """Nothing may be awaited between the reply and `start_tls`: it keeps whatever comes from us.

        ConnectionAbortedError when there is no handshake. The session begins anew behind it (RFC 3207 section 4.2).
        """
        try:
            transport = await self.loop.start_tls(
                self._writer.transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except (OSError, asyncio.CancelledError) as error:
            log.info("smtp.tls_failed", client=self.session.client_address, reason=why_failed(error))
            # uvloop calls it, which cancels us; asyncio does not while the handshake has not ended.
            self.connection_lost(None)
            raise ConnectionAbortedError from error
        assert transport is not None  # noqa: S101  typeshed has it for other loops
        self._continue_on(transport)

    def _continue_on(self, transport: asyncio.Transport) -> None:
        self._clear_writer = self._writer  # from Python 3.13 a writer that nobody keeps closes its transport
        self._writer = asyncio.StreamWriter(transport, self, self._reader, self.loop)
        self._reader.continue_on(transport)
        self._wire = self.transport = transport
        self._set_rset_state()
        peer, self.session = self.session.peer, self._create_session()
        self.session.peer = peer
        self.session.ssl = transport.get_extra_info("ssl_object")


def line_of(reply: str) -> bytes:
    return reply.encode("ascii", "replace") + b"\r\n"
