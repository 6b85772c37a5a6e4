"""The SMTP protocol of the front: aiosmtpd's, made strict, bounded and fast.

Kept of aiosmtpd are the life of a connection, its sessions and envelopes. Commands are read, checked and answered here:
aiosmtpd 1.4.6 takes control characters and bare LF, counts only unknown verbs as errors, reads content line by line
without a bound, and tells a client the text of our exceptions with a permanent code.
"""

# ruff: noqa: N802  the names of the commands are aiosmtpd's

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from aiosmtpd.smtp import SMTP

from gateway.credentials import Credential
from gateway.logs import get_logger
from gateway.settings import HostPort, Listener
from gateway.smtp import auth, commands, policy, proxy, replies
from gateway.smtp.admission import Admission
from gateway.smtp.connections import Connections
from gateway.smtp.data import (
    BLOCK,
    BlockReader,
    LargePlace,
    LargePlaces,
    OctetsInFlight,
    OversizeError,
    Share,
    read_content,
)
from gateway.smtp.handler import Handler
from gateway.smtp.limits import Limits
from gateway.smtp.replies import CloseError, RefusedError
from gateway.smtp.session import Session, Transaction
from gateway.smtp.tls import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, Certificates, why_failed

log = get_logger(__name__)

_VERBS = ("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "HELP", "STARTTLS", "AUTH")
_NOT_OFFERED = frozenset(("EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML"))
_JUNK = frozenset(("HELO", "EHLO", "NOOP", "RSET", "VRFY", "HELP", "STARTTLS"))
_WITH_ADDRESS = frozenset(("MAIL", "RCPT"))


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


class _NoHooks:
    """Stands for the handler in aiosmtpd's constructor, which looks through all names of it at each connection."""

    def __dir__(self) -> list[str]:
        return []


_NO_HOOKS = _NoHooks()
_LAN = Listener(HostPort("127.0.0.1", 2525))


class GatewaySMTP(SMTP):
    """One connection."""

    line_length_limit = (
        BLOCK  # what aiosmtpd makes the buffer of its reader; lines are measured where content is inspected
    )

    _reader: BlockReader
    session: Session
    envelope: Transaction

    def __init__(
        self, handler: Handler, front: FrontState, loop: asyncio.AbstractEventLoop, listener: Listener = _LAN
    ) -> None:
        super().__init__(_NO_HOOKS, hostname=front.hostname, timeout=front.limits.idle, loop=loop)
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

    def __dir__(self) -> list[str]:
        """Only our commands: aiosmtpd's constructor looks them up among all that is here, once a connection."""
        return [f"smtp_{verb}" for verb in _VERBS]

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
        if not self._awaits_command or self.in_transaction or self._writer.is_closing():
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
        self._writer.write(_line(reply))
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

    # Commands

    async def push(self, status: str | bytes) -> None:
        """Send a reply; ConnectionError when the client is gone."""
        self._writer.write(_line(status) if isinstance(status, str) else status + b"\r\n")
        self._replied_at = self.loop.time()
        self._owes_answer = False
        await self._writer.drain()

    async def handle_exception(self, error: Exception) -> str:
        """What the client is told of our own failure: to try again, and nothing else."""
        log.error("smtp.failed", client=self.session.client_address, exc_info=error)
        return replies.INTERNAL_ERROR

    async def _handle_client(self) -> None:
        try:
            await self._converse()
        except CloseError as end:
            await self._close(end.reply)
        except ConnectionError:
            pass  # the client went away; there is nobody to tell
        finally:
            self._writer.close()
            self._reset_timeout()

    async def _converse(self) -> None:
        # Twice round the loop: what a client sent before it was greeted has arrived then.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._reader.has_input():
            self._refuse_proxy_header(self._reader.starts_with)
            raise CloseError(replies.SPOKE_TOO_EARLY)
        if self._makes_room:
            self._make_room()
            return
        self._is_greeted = True
        await self.push(replies.banner(self.hostname))
        while (line := await self._read_command()) is not None:
            self._reset_timeout()
            try:
                await self._execute(line)
            except RefusedError as refusal:
                await self._refuse(refusal)
            except (ConnectionError, CloseError):
                raise
            except Exception as error:  # noqa: BLE001  no failure of ours may end a session or be quoted to a client
                await self.push(await self.handle_exception(error))

    async def _read_command(self) -> bytes | None:
        """The next command, or None when the client will send no more."""
        line = await self._read_line()
        if line is not None and self._draining and not self.in_transaction and line.strip().upper() != b"QUIT":
            raise CloseError(replies.SHUTTING_DOWN)
        return line

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

    async def _execute(self, line: bytes) -> None:
        if self.loop.time() - self._last_message_at > self._limits.session_without_message:
            raise CloseError(replies.SESSION_TOO_LONG)
        self._refuse_proxy_header(line.startswith)
        verb, argument = self._parsed(line)
        if commands.is_foreign(verb):
            log.warning("smtp.foreign_protocol", client=self.session.client_address)
            raise CloseError(replies.NOT_SMTP)
        command = self._smtp_methods.get(verb)
        if command is None:
            raise RefusedError(replies.NOT_IMPLEMENTED if verb in _NOT_OFFERED else replies.UNKNOWN_COMMAND)
        if verb in _JUNK:
            self._count_junk()
        await command(argument)

    def _refuse_proxy_header(self, starts_with: Callable[[bytes], bool]) -> None:
        """Whoever may not say for whom it speaks is told so, and so is the operator who forgot a setting."""
        if any(map(starts_with, proxy.STARTS)):
            log.warning(
                "smtp.proxy_header_unexpected",
                client=self.session.client_address,
                reason="It began with a PROXY header; if it is your load balancer, name it in SESGATE_PROXY_NETWORKS.",
            )
            raise CloseError(replies.PROXY_NOT_TAKEN)

    def _parsed(self, line: bytes) -> tuple[str, str]:
        """The verb in capitals, and its argument; only printable ASCII gets further than this."""
        text = line.decode("latin-1")
        verb, _, argument = text.rstrip("\r\n").partition(" ")
        verb = verb.upper()
        if len(line) > self._limits.command_octets:
            raise RefusedError(replies.COMMAND_TOO_LONG)
        if not line.endswith(b"\r\n"):
            raise RefusedError(replies.COMMAND_WITHOUT_CRLF)
        if not text.isascii() and verb in _WITH_ADDRESS:
            raise RefusedError(replies.NON_ASCII_ADDRESS, is_error=False)
        if not (text.isascii() and text[:-2].isprintable()):
            raise RefusedError(replies.COMMAND_NOT_ASCII)
        return verb, argument.strip(" ")

    async def _refuse(self, refusal: RefusedError) -> None:
        if refusal.is_error:
            self._count_error()
        await self.push(refusal.reply)

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._limits.errors:
            log.warning("smtp.too_many_errors", client=self.session.client_address)
            raise CloseError(replies.TOO_MANY_ERRORS)

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > self._limits.junk_commands:
            self._count_error()

    async def _close(self, reply: str) -> None:
        """Say the last reply, and read on for a moment: closing at once would take the reply away from a client that
        is still sending.
        """
        self._writer.write(_line(reply))
        self._deadline = math.inf
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(BLOCK):
                    pass

    async def smtp_HELO(self, hostname: str) -> None:
        self._greeted_by(hostname, extended=False)
        await self.push(replies.helo(self.hostname))

    async def smtp_EHLO(self, hostname: str) -> None:
        self._greeted_by(hostname, extended=True)
        await self.push(replies.ehlo(self.hostname, self._handler.size_limit(self.session), *self._offers()))

    def _offers(self) -> tuple[str, ...]:
        """What EHLO offers here and now (RFC 3207 section 4.2)."""
        tls = ("STARTTLS",) if self._front.certificates is not None and not self.session.tls else ()
        may_authenticate = self.session.secret_id is None and auth.is_offered(self.session)
        return (*tls, f"AUTH {' '.join(auth.MECHANISMS)}") if may_authenticate else tls

    def _greeted_by(self, hostname: str, *, extended: bool) -> None:
        if not hostname:
            raise RefusedError(replies.HELO_SYNTAX)
        self._set_rset_state()
        self.session.extended_smtp = extended
        self.session.host_name = hostname[:255]

    async def smtp_MAIL(self, arg: str | None) -> None:
        self._need_helo()
        if self.in_transaction:
            raise RefusedError(replies.NESTED_MAIL)
        if self._listener.requires_tls and not self.session.tls:
            raise RefusedError(replies.TLS_FIRST)
        self._check_session()
        path, size = commands.parse_mail(arg or "")
        await self.push(await self._handler.handle_MAIL(self.session, self.envelope, path, size))

    def _check_session(self) -> None:
        """Before each transaction: whether the session may go on, and what it may send by now."""
        if self.session.messages >= self._limits.messages:
            raise CloseError(replies.session_full(self.session.messages))
        if self.loop.time() - self._connected_at > self._limits.session:
            raise CloseError(replies.SESSION_TOO_OLD)
        if not self._front.admission.is_known:
            raise RefusedError(replies.WHO_UNAVAILABLE, is_error=False)
        if self.session.secret_id is None:
            self.session.credential = self._credential_of_network()
        elif not self._front.admission.renew(self.session):
            raise CloseError(replies.NOT_ADMITTED_ANY_MORE)

    async def smtp_RCPT(self, arg: str | None) -> None:
        self._need_helo()
        if not self.in_transaction:
            raise RefusedError(replies.MAIL_FIRST)
        self.envelope.rcpt_commands += 1
        if self.envelope.rcpt_commands > self._limits.recipients + self._limits.recipient_overshoot:
            raise CloseError(replies.TOO_MANY_ERRORS)
        path = commands.parse_rcpt(arg or "")
        await self.push(await self._handler.handle_RCPT(self.session, self.envelope, path))

    async def smtp_DATA(self, arg: str) -> None:
        self._need_helo()
        if arg:
            raise RefusedError(replies.DATA_SYNTAX)
        if not self.envelope.forward_paths:
            raise RefusedError(replies.RCPT_FIRST)
        await self._handler.check_room()
        if self._reader.has_input():
            raise CloseError(replies.SPOKE_TOO_EARLY)
        await self.push(replies.START_DATA)
        try:
            with (
                LargePlace(self._front.large_places, self._client_key, self._limits.large_wait) as place,
                Share(self._front.in_flight) as share,
            ):
                content = await self._read_content(place, share)
                self._deadline = math.inf  # the store has its own patience
                self._owes_answer = True
                reply = await self._handler.handle_DATA(self.session, self.envelope, content)
        finally:
            self._set_rset_state()
            self._reset_timeout()
        self._errors = self._junk = 0
        self._last_message_at = self.loop.time()
        self.session.messages += 1
        if self.session.credential is not None and self.session.secret_id is None:
            self._front.admission.noted(self.session.credential)
        await self.push(reply)

    async def _read_content(self, place: LargePlace, share: Share) -> bytes:
        started = self.loop.time()

        async def progress(received: int) -> bool:
            is_kept = share.grow_to(received)
            if is_kept and received > self._limits.large_octets:
                self._deadline = math.inf
                await place.take()
            rate = self._limits.large_octets_per_second if place.is_taken else self._limits.data_octets_per_second
            allowed = self._idle + place.waited + received / rate
            self._deadline = min(self.loop.time() + self._idle, started + allowed)
            return is_kept

        try:
            content = await read_content(self._reader, self._handler.size_limit(self.session), progress)
        except OversizeError:
            raise CloseError(self._too_large()) from None
        except TimeoutError:
            raise CloseError(replies.NO_PLACE_FOR_LARGE) from None
        if content is None:
            raise RefusedError(replies.TOO_MUCH_IN_FLIGHT if share.is_denied else self._too_large(), is_error=False)
        return content

    def _too_large(self) -> str:
        return policy.too_large(self.session.credential, self._front.max_message_bytes)

    async def smtp_AUTH(self, argument: str) -> None:
        """RFC 4954."""
        self._need_helo()
        if self.session.secret_id is not None:
            raise RefusedError(replies.AUTH_AGAIN)
        if self.in_transaction:
            raise RefusedError(replies.AUTH_IN_TRANSACTION)
        admitted = await self._front.authenticator.authenticate(self.session, argument, self._ask)
        if not self._take_place(is_trusted=True):
            raise CloseError(replies.TOO_MANY_CONNECTIONS)
        self.session.credential, self.session.secret_id = admitted.credential, admitted.secret.id
        await self.push(replies.AUTHENTICATED)

    async def _ask(self, challenge: str) -> str:
        """What the client answers to a challenge of AUTH; ConnectionResetError when it leaves instead."""
        await self.push(f"334 {challenge}")
        line = await self._read_line()
        if line is None:
            raise ConnectionResetError
        self._reset_timeout()
        if len(line) > self._limits.auth_octets:
            raise RefusedError(replies.AUTH_TOO_LONG)
        if not line.endswith(b"\r\n"):
            raise RefusedError(replies.COMMAND_WITHOUT_CRLF)
        return line.decode("latin-1").rstrip(" \r\n")

    async def smtp_STARTTLS(self, argument: str) -> None:
        """RFC 3207. What a client sent behind the command, in the clear, would be read as if TLS had protected it."""
        certificates = self._front.certificates
        if argument:
            raise RefusedError(replies.STARTTLS_SYNTAX)
        if self.session.tls:
            raise RefusedError(replies.TLS_ACTIVE)
        if certificates is None:
            raise RefusedError(replies.TLS_UNAVAILABLE)
        if self._reader.has_input():
            log.warning("smtp.starttls_injection", client=self.session.client_address)
            raise CloseError(replies.SPOKE_BEFORE_TLS)
        self._writer.write(_line(replies.START_TLS))
        await self._start_tls(certificates.context(self._listener))

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

    async def smtp_RSET(self, _arg: str) -> None:
        self._set_rset_state()
        await self.push(replies.OK)

    async def smtp_NOOP(self, _arg: str) -> None:
        await self.push(replies.OK)

    async def smtp_VRFY(self, _arg: str) -> None:
        """The same for every address: who may be mailed is told at RCPT, and only to those who may mail."""
        await self.push(replies.CANNOT_VERIFY)

    async def smtp_HELP(self, _arg: str) -> None:
        await self.push(replies.HELP)

    async def smtp_QUIT(self, _arg: str) -> None:
        self._say_and_close(replies.GOODBYE)

    def _need_helo(self) -> None:
        if not self.session.host_name:
            raise RefusedError(replies.HELO_FIRST)


def _line(reply: str) -> bytes:
    return reply.encode("ascii", "replace") + b"\r\n"
