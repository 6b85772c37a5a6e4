"""What every database of ours offers: reads on pooled connections, writes through one group-committing thread."""

from __future__ import annotations

import os
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar

import peewee
from playhouse.pool import MaxConnectionsExceeded, PooledDatabase

from gateway.store.errors import StoreUnavailableError
from gateway.store.sql import Sql
from gateway.store.works import RunAll
from gateway.store.writer import Writer

P = TypeVar("P")
T = TypeVar("T")


class Database(ABC):
    """`read`, `write`, `submit` and `close`, the same for SQLite and PostgreSQL.

    Safe to use from any thread, and after a fork: the child begins with connections of its own.
    """

    peewee: PooledDatabase
    _writer: Writer

    def __init__(self, gate_timeout: float) -> None:
        self.gate_timeout = gate_timeout
        _open_databases.add(self)

    @contextmanager
    def read(self) -> Iterator[Sql]:
        """A connection for statements that change nothing. StoreUnavailableError when the database cannot be asked."""
        try:
            with self._connection():
                yield Sql(self.peewee)
        except (peewee.DatabaseError, peewee.InterfaceError, MaxConnectionsExceeded) as error:
            self.peewee.close_idle()
            raise StoreUnavailableError(f"The database could not be read ({error}).") from error

    def submit(self, run: Callable[[Sql], T]) -> Future[T]:
        """Have `run` executed in the next transaction; see `Writer.submit`."""
        return self._writer.submit(run)

    def submit_to(self, run_all: RunAll[P, T], piece: P) -> Future[T]:
        """Have `run_all` executed for this piece and for all the others that wait for it; see `Writer.submit_to`."""
        return self._writer.submit_to(run_all, piece)

    def write(self, run: Callable[[Sql], T]) -> T:
        """Like `submit`, and wait as `settle` does."""
        return self.settle(self.submit(run))

    def settle(self, future: Future[T], deadline: float | None = None) -> T:
        """Wait for a write. StoreUnavailableError when it could not be begun in time; nothing was kept then.

        In time is within the gate's time-out, or before a `deadline` (monotonic) that it shares with others.
        """
        patience = self.gate_timeout if deadline is None else max(0.0, deadline - time.monotonic())
        with suppress(TimeoutError):
            return future.result(timeout=patience)
        if future.cancel():
            raise StoreUnavailableError(f"The database was busy for {self.gate_timeout:g} s.")
        return future.result()

    def close(self) -> None:
        """Commit what waits, and let go of every connection."""
        self._writer.close()
        _open_databases.discard(self)

    @abstractmethod
    def create(self) -> None:
        """Make what must be there before the first migration."""

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether there is anything that could be asked."""

    @abstractmethod
    def exclusive(self) -> AbstractContextManager[peewee.Database]:
        """peewee itself, alone in the whole installation, outside a transaction: for migrations."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[object]:
        """A write transaction on the connection of the calling thread, inside `exclusive`."""

    def clock_skew(self) -> float:
        """How far this machine's clock is ahead of the database's, in seconds; a file has no clock of its own."""
        return 0.0

    @abstractmethod
    def size(self) -> int:
        """Bytes on disk."""

    @abstractmethod
    def free_pages(self) -> None:
        """Give the room of deleted rows back, where the database does not do so by itself."""

    @abstractmethod
    def before_fork(self) -> None: ...

    @abstractmethod
    def after_fork_in_parent(self) -> None: ...

    @abstractmethod
    def after_fork_in_child(self) -> None: ...

    @abstractmethod
    def _connection(self) -> AbstractContextManager[None]:
        """A pooled connection for the calling thread, which no fork may inherit."""


_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _each(action: str) -> Callable[[], None]:
    def run() -> None:
        for database in list(_open_databases):
            getattr(database, action)()

    return run


os.register_at_fork(
    before=_each("before_fork"),
    after_in_parent=_each("after_fork_in_parent"),
    after_in_child=_each("after_fork_in_child"),
)
