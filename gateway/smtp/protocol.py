"""The SMTP protocol of the front: aiosmtpd's, made strict, bounded and fast.

Kept of aiosmtpd are the life of a connection, its sessions and envelopes. Commands are read, checked and answered here:
aiosmtpd 1.4.6 takes control characters and bare LF, counts only unknown verbs as errors, reads content line by line
without a bound, and tells a client the text of our exceptions with a permanent code.
"""

# ruff: noqa: N802  the names of the commands are aiosmtpd's

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import cast

from aiosmtpd.smtp import SMTP

from gateway.logs import get_logger
from gateway.smtp import commands, policy, replies
from gateway.smtp.connections import Connections
from gateway.smtp.data import BLOCK, BlockReader, LargePlace, LargePlaces, OversizeError, read_content
from gateway.smtp.handler import Handler, Session, Transaction
from gateway.smtp.limits import Limits
from gateway.smtp.replies import RefusedError

log = get_logger(__name__)

_VERBS = ("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "HELP")
_NOT_OFFERED = frozenset(("AUTH", "STARTTLS", "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML"))
_JUNK = frozenset(("HELO", "EHLO", "NOOP", "RSET", "VRFY", "HELP"))
_WITH_ADDRESS = frozenset(("MAIL", "RCPT"))


class CloseError(Exception):
    """The connection cannot go on; `reply` is the last one."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class FrontState:
    """What all connections share."""

    hostname: str
    max_message_bytes: int
    trusted_networks: Sequence[IPv4Network | IPv6Network]
    limits: Limits
    connections: Connections
    large_places: LargePlaces


class _NoHooks:
    """Stands for the handler in aiosmtpd's constructor, which looks through all names of it at each connection."""

    def __dir__(self) -> list[str]:
        return []


_NO_HOOKS = _NoHooks()


class GatewaySMTP(SMTP):
    """One connection."""

    line_length_limit = (
        BLOCK  # what aiosmtpd makes the buffer of its reader; lines are measured where content is inspected
    )

    _reader: BlockReader
    session: Session
    envelope: Transaction

    def __init__(self, handler: Handler, front: FrontState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_NO_HOOKS, hostname=front.hostname, timeout=front.limits.idle, loop=loop)
        reader = BlockReader(limit=BLOCK, loop=loop)
        asyncio.StreamReaderProtocol.__init__(self, reader, client_connected_cb=self._cb_client_connected, loop=loop)
        self._handler = handler
        self._front = front
        self._limits = front.limits
        self._client = policy.client_address(None)
        self._client_key = ""
        self._may_relay = False
        self._idle = front.limits.idle
        self._admitted = False
        self._awaits_command = False
        self._draining = False
        self._replied_at = 0.0
        self._owes_answer = False
        self._errors = 0
        self._junk = 0
        self._deadline = 0.0
        self._last_message_at = loop.time()

    def __dir__(self) -> list[str]:
        """Only our commands: aiosmtpd's constructor looks them up among all that is here, once a connection."""
        return [f"smtp_{verb}" for verb in _VERBS]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)  # uvloop's are not instances of it
        self._client = policy.client_address(transport.get_extra_info("peername"))
        self._client_key = policy.client_key(self._client)
        self._may_relay = policy.may_relay(self._client, self._front.trusted_networks)
        self._idle = self._limits.idle if self._may_relay else self._limits.stranger_idle
        self._admitted = self._front.connections.enter(self, self._client_key, is_trusted=self._may_relay)
        if self._admitted:
            super().connection_made(transport)
            return
        # Not at once: a transport of uvloop that is closed in here is never closed.
        self.loop.call_soon(self._turn_away)

    def _turn_away(self) -> None:
        self._wire.write(_line(replies.TOO_MANY_CONNECTIONS))
        self._wire.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._admitted:
            asyncio.StreamReaderProtocol.connection_lost(self, error)
            return
        self._front.connections.leave(self)
        super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """A client that said all it has to say may still read: what it sent is carried out, and answered."""
        return asyncio.StreamReaderProtocol.eof_received(self)

    def _create_session(self) -> Session:
        return Session(self.loop, "" if self._client is None else str(self._client), may_relay=self._may_relay)

    def _set_rset_state(self) -> None:
        self.envelope = Transaction()

    # Ends and time limits. One timer a connection is moved on when it fires, not at each command.

    @property
    def in_transaction(self) -> bool:
        return self.envelope.is_open

    @property
    def owes_answer(self) -> bool:
        return self._owes_answer

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
            self._wire.abort()

    def abort(self) -> None:
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
        if self._wire.get_write_buffer_size():
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
            raise CloseError(replies.SPOKE_TOO_EARLY)
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
        """The next line, or None when the client will send no more."""
        if self._writer.is_closing():
            return None
        self._awaits_command = True
        if self._draining:
            self._end_when_idle()
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            raise CloseError(replies.COMMAND_TOO_LONG) from None
        finally:
            self._awaits_command = False
        if self._draining and not self.in_transaction and line.strip().upper() != b"QUIT":
            raise CloseError(replies.SHUTTING_DOWN)
        return line

    async def _execute(self, line: bytes) -> None:
        if self.loop.time() - self._last_message_at > self._limits.session_without_message:
            raise CloseError(replies.SESSION_TOO_LONG)
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
                self._writer.write_eof()
                while await self._reader.read(BLOCK):
                    pass

    async def smtp_HELO(self, hostname: str) -> None:
        self._greeted_by(hostname, extended=False)
        await self.push(replies.helo(self.hostname))

    async def smtp_EHLO(self, hostname: str) -> None:
        self._greeted_by(hostname, extended=True)
        await self.push(replies.ehlo(self.hostname, self._front.max_message_bytes))

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
        path, size = commands.parse_mail(arg or "")
        await self.push(await self._handler.handle_MAIL(self.envelope, path, size))

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
            with LargePlace(self._front.large_places, self._client_key, self._limits.large_wait) as place:
                content = await self._read_content(place)
                self._deadline = math.inf  # the store has its own patience
                self._owes_answer = True
                reply = await self._handler.handle_DATA(self.session, self.envelope, content)
        finally:
            self._set_rset_state()
            self._reset_timeout()
        self._errors = self._junk = 0
        self._last_message_at = self.loop.time()
        await self.push(reply)

    async def _read_content(self, place: LargePlace) -> bytes:
        started = self.loop.time()

        async def progress(received: int) -> None:
            if received > self._limits.large_octets:
                self._deadline = math.inf
                await place.take()
            rate = self._limits.large_octets_per_second if place.is_taken else self._limits.data_octets_per_second
            allowed = self._idle + place.waited + received / rate
            self._deadline = min(self.loop.time() + self._idle, started + allowed)

        try:
            content = await read_content(self._reader, self._front.max_message_bytes, progress)
        except OversizeError:
            raise CloseError(replies.TOO_LARGE) from None
        except TimeoutError:
            raise CloseError(replies.NO_PLACE_FOR_LARGE) from None
        if content is None:
            raise RefusedError(replies.TOO_LARGE, is_error=False)
        return content

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
