"""Asking the suppressions without blocking the event loop.

As the writer does with messages, one thread takes all look-ups that wait and answers them at once: under load the
groups grow by themselves, and one statement and one wake-up of the loop do for all of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from gateway.addresses import Mailbox
from gateway.smtp.wakeups import Patience, WakeUps
from gateway.store.errors import StoreUnavailableError
from gateway.suppression_policy import Reason

_AT_ONCE = 256


class Suppression(Protocol):
    """What the front wants to know of a suppression."""

    @property
    def reason(self) -> Reason: ...

    @property
    def since(self) -> datetime: ...

    @property
    def is_domain(self) -> bool:
        """Whether it is about everybody at the domain."""


class SuppressionStore(Protocol):
    def find_all(self, wanted: Sequence[tuple[Mailbox, str | None]], /) -> Sequence[Suppression | None]:
        """For each mailbox the strongest for all senders or for this credential. None means surely not suppressed;
        StoreUnavailableError that it cannot be told of any. May block.
        """


class _LookUp(NamedTuple):
    mailbox: Mailbox
    credential: str
    answer: asyncio.Future[Suppression | None]


class LookUps:
    """The thread and the look-ups that wait for it. For use on the event loop: nothing here blocks it."""

    def __init__(self, suppressions: SuppressionStore, patience: float, loop: asyncio.AbstractEventLoop) -> None:
        self._suppressions = suppressions
        self._loop = loop
        self._wakeups = WakeUps(loop)
        self._patience = Patience(loop, patience)
        self._waiting: SimpleQueue[_LookUp | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def find(self, mailbox: Mailbox, credential: str) -> asyncio.Future[Suppression | None]:
        """StoreUnavailableError in the future when it cannot be told, or not in time."""
        if self._thread is None:
            # A daemon: a front that ends by a failure, without its `close`, must end, to be started anew.
            self._thread = threading.Thread(target=self._work, name="smtp-lookup", daemon=True)
            self._thread.start()
        answer: asyncio.Future[Suppression | None] = self._loop.create_future()
        self._waiting.put(_LookUp(mailbox, credential, answer))
        self._patience.watch(answer, partial(_give_up, answer))
        return answer

    def close(self) -> None:
        """End the thread when it has answered what it has in hand."""
        if self._thread is not None:
            self._waiting.put(None)

    def _work(self) -> None:
        while group := self._group():
            # Who has left or given up needs no answer any more.
            self._answer([one for one in group if not one.answer.done()])

    def _group(self) -> list[_LookUp]:
        """All that wait; empty at the end."""
        group: list[_LookUp] = []
        one = self._waiting.get()
        try:
            while one is not None:
                group.append(one)
                if len(group) == _AT_ONCE:
                    return group
                one = self._waiting.get_nowait()
        except Empty:
            return group
        self._waiting.put(None)  # for the next round, if there is something to be done in this one
        return group

    def _answer(self, group: Sequence[_LookUp]) -> None:
        if not group:
            return
        try:
            found = self._suppressions.find_all([(one.mailbox, one.credential) for one in group])
        except StoreUnavailableError as error:
            self._wakeups.call(partial(_fail, group, error))
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked; the thread must live on
            if len(group) == 1:
                self._wakeups.call(partial(_fail, group, error))
            for one in group if len(group) > 1 else ():
                self._answer([one])  # nobody is to suffer for another
        else:
            self._wakeups.call(partial(_settle, group, found))


def _settle(group: Sequence[_LookUp], found: Sequence[Suppression | None]) -> None:
    for one, suppression in zip(group, found, strict=True):
        if not one.answer.done():
            one.answer.set_result(suppression)


def _fail(group: Sequence[_LookUp], error: Exception) -> None:
    for one in group:
        if not one.answer.done():
            one.answer.set_exception(error)


def _give_up(answer: asyncio.Future[Suppression | None]) -> None:
    answer.set_exception(StoreUnavailableError("The database did not answer in time."))
