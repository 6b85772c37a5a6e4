"""Handing messages to the store, and waiting for what becomes of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, Protocol

from gateway.content import ContentFacts
from gateway.credentials import Caps
from gateway.envelope import Envelope
from gateway.logs import get_logger
from gateway.smtp.wakeups import Patience, WakeUps
from gateway.store.errors import StoreUnavailableError

log = get_logger(__name__)


class MessageStore(Protocol):
    def submit(self, envelope: Envelope, facts: ContentFacts, caps: Caps | None = None, /) -> Future[str]:
        """Resolves with the message's id once it is on stable storage. After a `cancel()` that answered True, and
        after StoreUnavailableError, OverCapError or NotEnabledError, surely nothing is kept.
        """


class _Commit(NamedTuple):
    """What is told of a message in the log, and not the message: it is not to be kept for that."""

    future: Future[str]
    outcome: asyncio.Future[str]
    credential: str
    client: str
    recipients: int
    size: int


class Commits:
    """The messages that the store has not answered yet. For use on the event loop: nothing here blocks it."""

    def __init__(self, messages: MessageStore, patience: float, loop: asyncio.AbstractEventLoop) -> None:
        self._messages = messages
        self._loop = loop
        self._wakeups = WakeUps(loop)
        self._patience = Patience(loop, patience)

    async def accept(self, envelope: Envelope, facts: ContentFacts, caps: Caps | None) -> str:
        """The id of the message once it is on stable storage; else what the store's future raises.

        StoreUnavailableError also when the store does not begin in time. A client that goes away calls off a commit
        that has not begun: it has no reply, so nothing is owed, and it sends the message again (RFC 1047). One that has
        begun goes on, and keeps its place in memory until it is done.
        """
        future = self._messages.submit(envelope, facts, caps)
        origin = envelope.origin
        outcome: asyncio.Future[str] = self._loop.create_future()
        commit = _Commit(
            future, outcome, origin.credential, origin.client_address, len(envelope.forward_paths), facts.size
        )
        future.add_done_callback(partial(self._is_done, commit))
        self._patience.watch(outcome, partial(_give_up, commit))
        try:
            return await outcome
        except asyncio.CancelledError:
            if not future.cancel():
                await self._end_of(future)
            raise

    def _is_done(self, commit: _Commit, _: Future[str]) -> None:
        self._wakeups.call(partial(_settle, commit))

    async def _end_of(self, future: Future[str]) -> None:
        ended: asyncio.Future[None] = self._loop.create_future()
        future.add_done_callback(lambda _: self._wakeups.call(partial(_end, ended)))
        await ended


def _settle(commit: _Commit) -> None:
    """Logged here and not after the waiting, so that a message is logged whose client did not stay for the answer.

    And logged last: whatever becomes of the line, the client has its answer.
    """
    future, outcome = commit.future, commit.outcome
    error = StoreUnavailableError("The store let go of the message.") if future.cancelled() else future.exception()
    if error is not None:
        if not outcome.done():
            outcome.set_exception(error)
        return
    if not outcome.done():
        outcome.set_result(future.result())
    log.info(
        "message.accepted",
        message_id=future.result(),
        credential=commit.credential,
        client=commit.client,
        recipients=commit.recipients,
        size=commit.size,
    )


def _end(ended: asyncio.Future[Any]) -> None:
    if not ended.done():
        ended.set_result(None)


def _give_up(commit: _Commit) -> None:
    """One that has begun is waited for: neither 250 nor 451 would be true of it."""
    if commit.future.cancel():
        commit.outcome.set_exception(StoreUnavailableError("The store did not begin the commit in time."))
