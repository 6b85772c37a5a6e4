"""Group commit: everything that waits becomes one transaction, with one fsync, and then everybody has an answer.

There is no artificial delay: an idle database takes a single write at once, a busy one takes all that arrived during
the commit before. Each piece of work runs in a savepoint of its own, so that a failing one takes nobody along.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, TypeVar

import peewee

from gateway.logs import get_logger
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.sql import Sql

T = TypeVar("T")
log = get_logger(__name__)

MAX_GROUP = 500
_TIMES = 3
_ADD_TALLY = (
    "INSERT INTO tallies (name, label, count) VALUES (?, ?, ?)"
    " ON CONFLICT (name, label) DO UPDATE SET count = tallies.count + excluded.count"
)


class _Work(Generic[T]):
    def __init__(self, run: Callable[[Sql], T]) -> None:
        self.run: Callable[[Sql], T] | None = run
        self.future: Future[T] = Future()
        self.result: T | None = None
        self.error: Exception | None = None
        self.future.add_done_callback(self._forget)

    def _forget(self, _future: Future[T]) -> None:
        """Whoever gave up waits in the queue until the gate opens; the mail that was to be stored need not."""
        self.run = None

    def settle(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # run() returned it


class Writer:
    """The one thread of a process that writes to the database.

    `transaction` opens a transaction (behind the write gate on SQLite) and commits it at its end; `after_commit` is
    called when everybody has been answered. `in_the_way` tells a failure that only says that another transaction was
    in the way: nothing was kept, and the same work may be done again.
    """

    def __init__(
        self,
        database: peewee.Database,
        transaction: Callable[[], AbstractContextManager[Any]],
        after_commit: Callable[[], None],
        in_the_way: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self._in_the_way = in_the_way
        self._database = database
        self._transaction = transaction
        self._after_commit = after_commit
        self._waiting: deque[_Work[Any]] = deque()
        self._arrived = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def submit(self, run: Callable[[Sql], T]) -> Future[T]:
        """Have `run` executed in the next transaction; the future resolves after its commit.

        `future.cancel()` answers True only when `run` was not begun, and then it never will be.
        StoreUnavailableError in the future means that nothing of it was kept.
        """
        work = _Work(run)
        with self._arrived:
            if self._closing:
                work.future.set_exception(StoreUnavailableError("The database is being closed."))
                return work.future
            if self._thread is None:
                thread = threading.Thread(target=self._loop, name="store-writer", daemon=True)
                thread.start()
                self._thread = thread
            self._waiting.append(work)
            self._arrived.notify()
        return work.future

    def close(self) -> None:
        """Commit what waits, and end the thread."""
        with self._arrived:
            self._closing = True
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _loop(self) -> None:
        while True:
            with self._arrived:
                while not self._waiting and not self._closing:
                    self._arrived.wait()
                if not self._waiting:
                    break
            self._commit_group()

    def _commit_group(self) -> None:
        group: list[_Work[Any]] = []
        try:
            with self._transaction():
                # Taken only now: whoever gave up while the gate was shut is left out, surely and for good.
                group = self._take()
                self._run_all(group)
        except Exception as error:  # noqa: BLE001  the thread must live on, and everybody waiting must have an answer
            if group and self._in_the_way(first_cause(error)):
                for work in group:
                    self._commit_alone(work)
            else:
                self._fail(group or self._take(), error)
            return
        self._answer(group)

    def _commit_alone(self, work: _Work[Any]) -> None:
        """In a transaction of its own, and some times if need be: a short transaction is seldom in anybody's way."""
        for left in reversed(range(_TIMES)):
            work.result = work.error = None
            try:
                with self._transaction():
                    self._run_all([work])
            except Exception as error:  # noqa: BLE001  the same as for a group
                if left and self._in_the_way(first_cause(error)):
                    continue
                self._fail([work], error)
                return
            self._answer([work])
            return

    def _answer(self, group: list[_Work[Any]]) -> None:
        for work in group:
            work.settle()
        try:
            self._after_commit()
        except Exception:
            log.exception("store.after_commit_failed")

    def _take(self) -> list[_Work[Any]]:
        with self._arrived:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
        return [work for work in taken if work.future.set_running_or_notify_cancel()]

    def _run_all(self, group: list[_Work[Any]]) -> None:
        """Each piece of work, and last what they counted: the counters' rows are locked for a moment only."""
        tallies: Counter[tuple[str, str]] = Counter()
        for work in group:
            tallies += self._run(work)
        sql = Sql(self._database)
        for (name, label), count in sorted(tallies.items()):  # sorted, so that no two groups wait for each other
            sql.run(_ADD_TALLY, (name, label, count))

    def _run(self, work: _Work[Any]) -> Counter[tuple[str, str]]:
        """What it counted; nothing when it failed."""
        assert work.run is not None  # noqa: S101  its future is running
        sql = Sql(self._database)
        try:
            with self._savepoint():
                work.result = work.run(sql)
        except (peewee.IntegrityError, peewee.DataError, peewee.ProgrammingError) as error:
            work.error = StoreError(f"The database refused the write ({error}).")
            work.error.__cause__ = error
        except peewee.PeeweeException:
            raise  # a full disk or a lost connection has ended the whole transaction
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked for the work
            work.error = error
        else:
            return sql.tallies
        return Counter()

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """peewee's own makes up a new name each time, which the database would have to parse anew."""
        self._database.execute_sql("SAVEPOINT work")
        try:
            yield
        except Exception:
            self._database.execute_sql("ROLLBACK TO work")
            raise
        finally:
            self._database.execute_sql("RELEASE work")

    def _fail(self, group: list[_Work[Any]], failure: Exception) -> None:
        error = failure if isinstance(failure, StoreUnavailableError) else first_cause(failure)
        log.error("store.write_failed", works=len(group), error=str(error), kind=type(error).__name__)
        unavailable = (
            error
            if isinstance(error, StoreUnavailableError)
            else StoreUnavailableError(f"The database did not take the write ({error}).")
        )
        for work in group:
            work.future.set_exception(unavailable)


def first_cause(error: BaseException) -> BaseException:
    """SQLite may end a transaction on its own, and then rolling it back fails too: the first failure is the reason."""
    while error.__context__ is not None:
        error = error.__context__
    return error
