"""The SMTP protocol of the front: aiosmtpd's, made strict, bounded and fast.

Commands are read, checked and answered here: aiosmtpd 1.4.6 takes control characters and bare LF, counts only unknown
verbs as errors, reads content line by line without a bound, and tells a client the text of our exceptions with a
permanent code.
"""

# ruff: noqa: N802  the names of the commands are aiosmtpd's

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable

from gateway.logs import get_logger
from gateway.smtp import auth, commands, policy, proxy, replies
from gateway.smtp.connection import ClientConnection, line_of
from gateway.smtp.data import (
    LargePlace,
    OversizeError,
    Share,
    read_content,
)
from gateway.smtp.replies import CloseError, RefusedError

log = get_logger(__name__)

_VERBS = frozenset(("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "HELP", "STARTTLS", "AUTH"))
_NOT_OFFERED = frozenset(("EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML"))
_JUNK = frozenset(("HELO", "EHLO", "NOOP", "RSET", "VRFY", "HELP", "STARTTLS"))
_WITH_ADDRESS = frozenset(("MAIL", "RCPT"))
_PLAIN = re.compile(rb"([A-Za-z]+)(?: ([!-~](?:[ -~]*[!-~])?))?\r\n")  # as nearly all clients write a command


class GatewaySMTP(ClientConnection):
    """One connection and its commands."""

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

    async def _execute(self, line: bytes) -> None:
        if self.loop.time() - self._last_message_at > self._limits.session_without_message:
            raise CloseError(replies.SESSION_TOO_LONG)
        self._refuse_proxy_header(line.startswith)
        verb, argument = self._parsed(line)
        if commands.is_foreign(verb):
            log.warning("smtp.foreign_protocol", client=self.session.client_address)
            raise CloseError(replies.NOT_SMTP)
        if verb not in _VERBS:
            raise RefusedError(replies.NOT_IMPLEMENTED if verb in _NOT_OFFERED else replies.UNKNOWN_COMMAND)
        if verb in _JUNK:
            self._count_junk()
        await getattr(self, f"smtp_{verb}")(argument)

    def _refuse_proxy_header(self, starts_with: Callable[[tuple[bytes, ...]], bool]) -> None:
        """Whoever may not say for whom it speaks is told so, and so is the operator who forgot a setting."""
        if starts_with(proxy.STARTS):
            log.warning(
                "smtp.proxy_header_unexpected",
                client=self.session.client_address,
                reason="It began with a PROXY header; if it is your load balancer, name it in SESGATE_PROXY_NETWORKS.",
            )
            raise CloseError(replies.PROXY_NOT_TAKEN)

    def _parsed(self, line: bytes) -> tuple[str, str]:
        """The verb in capitals, and its argument; only printable ASCII gets further than this."""
        is_simple = len(line) <= self._limits.command_octets and self._listener.profile != "antique"
        plain = _PLAIN.fullmatch(line) if is_simple else None
        if plain is None:
            return self._parsed_with_care(line)
        return plain[1].decode("ascii").upper(), (plain[2] or b"").decode("ascii")

    def _parsed_with_care(self, line: bytes) -> tuple[str, str]:
        text = line.decode("latin-1")
        verb = text.rstrip("\r\n").partition(" ")[0].upper()
        if len(line) > self._limits.command_octets:
            raise RefusedError(replies.COMMAND_TOO_LONG)
        if not line.endswith(b"\r\n"):
            raise RefusedError(replies.COMMAND_WITHOUT_CRLF)
        if not text.isascii() and verb in _WITH_ADDRESS:
            text = commands.in_ascii(line)
        if not (text.isascii() and text[:-2].isprintable()):
            raise RefusedError(replies.COMMAND_NOT_ASCII)
        argument = text[:-2].partition(" ")[2].strip(" ")
        if self._listener.profile == "antique" and verb in _WITH_ADDRESS:
            argument = commands.tightened(argument)
        return verb, argument

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
        self._writer.write(line_of(replies.START_TLS))
        await self._start_tls(certificates.context(self._listener))

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
