"""Group commit: everything that waits becomes one transaction, with one fsync, and then everybody has an answer.

There is no artificial delay: an idle database takes a single write at once, a busy one takes all that arrived during
the commit before. A piece of work that fails takes nobody along (see `works`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TypeVar

import peewee

from gateway.logs import get_logger
from gateway.store.errors import StoreUnavailableError
from gateway.store.sql import Sql
from gateway.store.works import RunAll, Work, run_group

P = TypeVar("P")
T = TypeVar("T")
log = get_logger(__name__)

MAX_GROUP = 500
_TIMES = 3
_ADD_TALLY = (
    "INSERT INTO tallies (name, label, count) VALUES (?, ?, ?)"
    " ON CONFLICT (name, label) DO UPDATE SET count = tallies.count + excluded.count"
)


class Writer:
    """The one thread of a process that writes to the database.

    `transaction` opens a transaction (behind the write gate on SQLite) and commits it at its end; what it gives rolls
    the transaction back and begins it again. `after_commit` is called when everybody has been answered. `in_the_way`
    tells a failure that only says that another transaction was in the way: nothing was kept, and the same work may be
    done again.
    """

    def __init__(
        self,
        database: peewee.Database,
        transaction: Callable[[], AbstractContextManager[Callable[[], None]]],
        after_commit: Callable[[], None],
        in_the_way: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self._in_the_way = in_the_way
        self._database = database
        self._transaction = transaction
        self._after_commit = after_commit
        self._waiting: deque[Work] = deque()
        self._arrived = threading.Condition()
        self._is_asleep = True
        self._has_ended = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def submit(self, run: Callable[[Sql], T]) -> Future[T]:
        """Have `run` executed in the next transaction; the future resolves after its commit.

        `future.cancel()` answers True only when `run` was not begun, and then it never will be.
        StoreUnavailableError in the future means that nothing of it was kept.
        """
        return self._enqueue(Work(None, run))

    def submit_to(self, run_all: RunAll[P, T], piece: P) -> Future[T]:
        """The same for a `piece` of what `run_all` does in one go for all the pieces that wait for it.

        It gives an outcome for each piece, in their order; an exception among them is the error of that piece alone,
        of which it must have kept nothing. When it raises, it is called again for each of the pieces.
        """
        return self._enqueue(Work(run_all, piece))

    def _enqueue(self, work: Work) -> Work:
        if self._thread is None:
            self._start()
        # Without the lock while the writer is at work: it may be the event loop that would wait for it. What was
        # appended before this look at the flags is seen by the writer before it falls asleep or ends.
        self._waiting.append(work)
        if self._is_asleep or self._closing:
            self._rouse()
        return work

    def _start(self) -> None:
        with self._arrived:
            if self._thread is None and not self._closing:
                thread = threading.Thread(target=self._loop, name="store-writer", daemon=True)
                thread.start()
                self._thread = thread

    def _rouse(self) -> None:
        with self._arrived:
            while self._waiting and self._closing and (self._thread is None or self._has_ended):
                for work in self._take():
                    work.set_exception(StoreUnavailableError("The database is being closed."))
            self._arrived.notify()

    def close(self) -> None:
        """Commit what waits, and end the thread."""
        with self._arrived:
            self._closing = True
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _loop(self) -> None:
        while self._awaits_work():
            self._commit_group()

    def _awaits_work(self) -> bool:
        """False at the end, when there is none and will be none."""
        with self._arrived:
            self._is_asleep = True
            while not self._waiting and not self._closing:
                self._arrived.wait()
            self._is_asleep = False
            self._has_ended = not self._waiting
            return not self._has_ended

    def _commit_group(self) -> None:
        group: list[Work] = []
        try:
            with self._transaction() as begin_anew:
                # Taken only now: whoever gave up while the gate was shut is left out, surely and for good.
                group = self._take()
                self._run(group, begin_anew)
        except Exception as error:  # noqa: BLE001  the thread must live on, and everybody waiting must have an answer
            if not group or not self._may_do_again(error):
                self._fail(group or self._take(), error)
                return
        else:
            self._answer(group)
            return
        # Out here, so that this failure is not the first cause of whatever fails from now on.
        for work in group:
            self._commit_alone(work)

    def _commit_alone(self, work: Work) -> None:
        """In a transaction of its own, and some times if need be: a short transaction is seldom in anybody's way."""
        for left in reversed(range(_TIMES)):
            work.outcome = work.error = None
            try:
                with self._transaction() as begin_anew:
                    self._run([work], begin_anew)
            except Exception as error:  # noqa: BLE001  the same as for a group
                if left and self._may_do_again(error):
                    continue
                self._fail([work], error)
                return
            self._answer([work])
            return

    def _may_do_again(self, error: Exception) -> bool:
        """Never what has been told already, least of all that nobody knows whether it is done."""
        return not isinstance(error, StoreUnavailableError) and self._in_the_way(first_cause(error))

    def _answer(self, group: list[Work]) -> None:
        for work in group:
            work.settle()
        try:
            self._after_commit()
        except Exception:
            log.exception("store.after_commit_failed")

    def _take(self) -> list[Work]:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
        return [work for work in taken if work.set_running_or_notify_cancel()]

    def _run(self, group: list[Work], begin_anew: Callable[[], None]) -> None:
        """Each piece of work, and last what they counted: the counters' rows are locked for a moment only."""
        tallies = run_group(self._database, group, begin_anew)
        if not tallies:
            return
        sql = Sql(self._database)
        for (name, label), count in sorted(tallies.items()):  # sorted, so that no two groups wait for each other
            sql.run(_ADD_TALLY, (name, label, count))

    def _fail(self, group: list[Work], failure: Exception) -> None:
        error = failure if isinstance(failure, StoreUnavailableError) else first_cause(failure)
        log.error("store.write_failed", works=len(group), error=str(error), kind=type(error).__name__)
        unavailable = (
            error
            if isinstance(error, StoreUnavailableError)
            else StoreUnavailableError(f"The database did not take the write ({error}).")
        )
        for work in group:
            work.error = unavailable
            work.settle()


def first_cause(error: BaseException) -> BaseException:
    """SQLite may end a transaction on its own, and then rolling it back fails too: the first failure is the reason."""
    while error.__context__ is not None:
        error = error.__context__
    return error
