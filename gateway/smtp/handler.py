"""What the commands of a mail transaction do."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

from gateway.addresses import AddressError, Mailbox, parse_forward_path, parse_mailbox
from gateway.content import ContentError, ContentFacts, Inspected, inspect
from gateway.credentials import Credential
from gateway.envelope import Envelope, Origin
from gateway.logs import get_logger
from gateway.smtp import auth, policy, replies
from gateway.smtp.commits import Commits
from gateway.smtp.disk import FreeSpace
from gateway.smtp.lookups import LookUps
from gateway.smtp.replies import RefusedError
from gateway.smtp.senders import SenderCheck
from gateway.smtp.session import Session, Transaction
from gateway.store.errors import (
    NoSpaceError,
    NotEnabledError,
    OutcomeUnknownError,
    OverCapError,
    StoreUnavailableError,
)

log = get_logger(__name__)

_INSPECT_ASIDE = 256 * 1024  # octets; less is inspected on the event loop: about a millisecond, if it is not hostile


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """The settings that the handler obeys."""

    max_message_bytes: int
    max_recipients: int
    suppressed_recipients: Literal["reject", "drop"]
    refuse_bare_lf: bool
    requires_auth: bool = False
    refold_header: bool = False


class Handler:
    """The hooks of one listener. Each returns a reply; RefusedError is one that changes nothing."""

    def __init__(
        self,
        options: HandlerOptions,
        commits: Commits,
        lookups: LookUps,
        free_space: FreeSpace,
        inspections: Executor,
        sender_check: SenderCheck | None = None,
    ) -> None:
        self._options = options
        self._commits = commits
        self._lookups = lookups
        self._free_space = free_space
        self._inspections = inspections
        self._sender_check = sender_check

    @property
    def requires_auth(self) -> bool:
        """Whether a network is no credential on this listener."""
        return self._options.requires_auth

    def size_limit(self, session: Session) -> int:
        return policy.size_limit(session.credential, self._options.max_message_bytes)

    async def handle_MAIL(self, session: Session, transaction: Transaction, path: str, size: int | None) -> str:  # noqa: N802  aiosmtpd's name
        """Begin a transaction; an empty path is the null reverse-path."""
        if session.credential is None and (self.requires_auth or auth.is_offered(session)):
            log.warning("auth.missing", client=session.client_address)
            raise RefusedError(replies.AUTH_REQUIRED)
        if size is not None:
            self._check_size(session, size)
        await self.check_room()
        reverse_path = _reverse_path(path)
        if session.credential is not None:
            _refuse(policy.reverse_path_refusal(session.credential, reverse_path), session)
        transaction.reverse_path = reverse_path
        transaction.mail_from = path or "<>"
        return replies.SENDER_OK

    async def handle_RCPT(self, session: Session, transaction: Transaction, path: str) -> str:  # noqa: N802
        """Add a recipient. A stranger learns nothing but that he is one."""
        credential = _credential(session)
        try:
            mailbox = parse_forward_path(path)
        except AddressError as error:
            raise RefusedError(replies.bad_recipient(str(error)), is_error=False) from None
        key = (mailbox.local_part, mailbox.domain.lower())
        if key in transaction.forward_paths:
            return replies.RECIPIENT_OK
        self._check_recipients(credential, len(transaction.forward_paths) + 1)
        if (credential.suppressed_recipients or self._options.suppressed_recipients) == "reject":
            await self._check_suppression(mailbox, credential.name)
        transaction.forward_paths[key] = mailbox
        return replies.RECIPIENT_OK

    async def handle_DATA(self, session: Session, transaction: Transaction, content: bytes) -> str:  # noqa: N802
        """Accept the message: 250 once it is on stable storage, and never otherwise."""
        try:
            inspected = await self._inspect(content)
        except ContentError as error:
            log.info("content.refused", client=session.client_address, fault=error.fault.value, line=error.line)
            raise RefusedError(replies.content_refused(error), is_error=False) from None
        credential = _credential(session)
        self._check_size(session, inspected.facts.size)
        _refuse(policy.author_refusal(credential, inspected.facts.senders), session)
        await self._check_senders(session, inspected.facts)
        await self.check_room()  # once more: many may have been told to go on while there was room
        envelope = _frozen(session, transaction, inspected.content)
        try:
            return replies.queued(await self._commits.accept(envelope, inspected.facts, credential.caps))
        except OutcomeUnknownError as error:
            # Neither 250 nor 451 would be true. Without a reply the client tries again, which RFC 1047 expects of it.
            log.error("message.outcome_unknown", client=session.client_address, error=str(error))
            raise ConnectionAbortedError from error
        except StoreUnavailableError as error:
            log.warning("message.not_stored", client=session.client_address, error=str(error))
            no_room = isinstance(error, NoSpaceError)
            raise RefusedError(replies.NO_ROOM if no_room else replies.STORE_UNAVAILABLE, is_error=False) from None
        except OverCapError as error:
            log.warning("credential.over_cap", credential=error.credential, period=error.period, cap=error.cap)
            raise RefusedError(replies.over_cap(error), is_error=False) from None
        except NotEnabledError:
            log.warning("credential.not_enabled", credential=credential.name, client=session.client_address)
            raise RefusedError(replies.not_enabled(credential.name)) from None

    def _check_size(self, session: Session, size: int) -> None:
        if size > self.size_limit(session):
            refusal = policy.too_large(session.credential, self._options.max_message_bytes)
            raise RefusedError(refusal, is_error=False)

    def _check_recipients(self, credential: Credential, number: int) -> None:
        most = policy.recipient_limit(credential, self._options.max_recipients)
        if number <= most:
            return
        is_own = most < self._options.max_recipients
        refusal = replies.too_many_recipients_for(credential.name, most) if is_own else replies.TOO_MANY_RECIPIENTS
        raise RefusedError(refusal, is_error=False)

    async def check_room(self) -> None:
        """RefusedError when the disk is nearly full: what is left belongs to the mail that was accepted."""
        space = self._free_space
        if space.was_short if space.is_fresh else await space.is_short():
            raise RefusedError(replies.NO_ROOM, is_error=False)

    async def _check_senders(self, session: Session, facts: ContentFacts) -> None:
        if self._sender_check is None:
            return
        refusal = await self._sender_check.refusal(facts.senders, session.client_address)
        if refusal is not None:
            raise RefusedError(refusal, is_error=False)

    async def _check_suppression(self, mailbox: Mailbox, credential: str) -> None:
        try:
            suppression = await self._lookups.find(mailbox, credential)
        except StoreUnavailableError as error:
            log.warning("recipient.not_checked", recipient=str(mailbox), error=str(error))
            raise RefusedError(replies.LOOKUP_UNAVAILABLE, is_error=False) from None
        if suppression is not None:
            log.info("recipient.refused", recipient=str(mailbox), reason=str(suppression.reason))
            refusal = replies.suppressed(
                mailbox, suppression.reason, suppression.since, with_domain=suppression.is_domain
            )
            raise RefusedError(refusal, is_error=False)

    async def _inspect(self, content: bytes) -> Inspected:
        if len(content) <= _INSPECT_ASIDE:
            return self._look(content)
        return await asyncio.get_running_loop().run_in_executor(self._inspections, self._look, content)

    def _look(self, content: bytes) -> Inspected:
        options = self._options
        return inspect(content, refuse_bare_lf=options.refuse_bare_lf, refold_header=options.refold_header)


def _credential(session: Session) -> Credential:
    """What the client may send under; RefusedError tells a stranger nothing but that he is one."""
    if session.credential is None:
        log.warning("relaying.denied", client=session.client_address)
        raise RefusedError(replies.relaying_denied(session.client_address))
    return session.credential


def _refuse(reply: str | None, session: Session) -> None:
    """RefusedError with what a credential may not do; None means that it may."""
    if reply is not None:
        log.warning("credential.refused", client=session.client_address, reply=reply)
        raise RefusedError(reply, is_error=False)


def _reverse_path(path: str) -> Mailbox | None:
    if not path:
        return None
    try:
        return parse_mailbox(path)
    except AddressError as error:
        raise RefusedError(replies.bad_sender(str(error)), is_error=False) from None


def _frozen(session: Session, transaction: Transaction, content: bytes) -> Envelope:
    origin = Origin(
        credential=_credential(session).name,
        client_address=session.client_address,
        helo=session.host_name or "",
        protocol=session.protocol,
    )
    return Envelope(transaction.reverse_path, tuple(transaction.forward_paths.values()), content, origin)
