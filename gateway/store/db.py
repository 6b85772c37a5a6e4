"""The database: reads on pooled connections, writes through one group-committing thread a process."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import peewee
from playhouse.pool import MaxConnectionsExceeded, PooledSqliteDatabase

from gateway.store.checkpointer import Checkpointer
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.fork import ForkGuard
from gateway.store.gate import WriteGate
from gateway.store.sql import Sql
from gateway.store.writer import Writer

T = TypeVar("T")

READ_CONNECTIONS = 32
SQLITE_NEEDED = (3, 35)  # RETURNING

# Written into the file when it is made. Not for each connection: SQLite takes its write lock to set `auto_vacuum`.
_FILE_PRAGMAS = (
    ("page_size", 8192),
    ("auto_vacuum", "incremental"),
    ("journal_mode", "wal"),
)
_PRAGMAS = (
    ("synchronous", "full"),
    ("busy_timeout", 5000),
    ("wal_autocheckpoint", 0),  # a checkpoint never delays an acknowledgement; see Checkpointer
    ("foreign_keys", 1),
    ("cache_size", -16_000),
    ("journal_size_limit", 64 * 1024**2),
)

# What a child was born with although a thread of its parent would not leave SQLite: never used, and never closed.
_inherited: list[object] = []


class Database:
    """One SQLite file, behind what every database of ours offers: `read`, `write`, `submit`, `close`.

    Safe to use from any thread, and after a fork: the child begins with connections of its own.
    """

    def __init__(self, path: Path, gate_timeout: float) -> None:
        if sqlite3.sqlite_version_info < SQLITE_NEEDED:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed.")
        self.path = path
        self.gate_timeout = gate_timeout
        self._gate = WriteGate(path.with_name(path.name + "-gate"))
        self._connect()
        _open_databases.add(self)

    def _connect(self) -> None:
        self.peewee = PooledSqliteDatabase(
            str(self.path), max_connections=READ_CONNECTIONS, timeout=5, check_same_thread=False, pragmas=_PRAGMAS
        )
        self._guard = ForkGuard()
        self._checkpointer = Checkpointer(self.peewee, self.path, self._connection, self._gate.held)
        self._writer = Writer(self.peewee, self._write_transaction, self._checkpointer.nudge)

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

    def write(self, run: Callable[[Sql], T]) -> T:
        """Like `submit`, and wait as `settle` does."""
        return self.settle(self.submit(run))

    def settle(self, future: Future[T]) -> T:
        """Wait for a write. StoreUnavailableError when the write gate stayed shut; nothing was kept then."""
        with suppress(TimeoutError):
            return future.result(timeout=self.gate_timeout)
        if future.cancel():
            raise StoreUnavailableError(f"The database was busy for {self.gate_timeout:g} s.")
        return future.result()

    def create(self) -> None:
        """Make the file if there is none. Mail is in it, and SQLite gives the files beside it the same mode."""
        with self._gate.held():
            self.path.touch(mode=0o600)
            self.path.chmod(0o600)
            if not self.path.stat().st_size:
                with closing(sqlite3.connect(self.path)) as connection:
                    for name, value in _FILE_PRAGMAS:
                        connection.execute(f"PRAGMA {name} = {value}").fetchall()

    @property
    def exists(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    @contextmanager
    def exclusive(self) -> Iterator[peewee.Database]:
        """peewee itself behind the write gate, outside a transaction: for migrations, which make their own."""
        with self._gate.held(), self._connection():
            yield self.peewee

    def close(self) -> None:
        self._writer.close()
        self._checkpointer.close()
        self.peewee.close_all()
        self._gate.close()
        _open_databases.discard(self)

    def size(self) -> int:
        """Bytes on disk, with the write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def free_pages(self) -> None:
        """Give pages of deleted rows back to the file system, some at a time."""

        with suppress(sqlite3.OperationalError), self._gate.held(), self._connection():
            # The pragma frees one page a step, and only a script is stepped to its end.
            self.peewee.connection().executescript("PRAGMA incremental_vacuum(2000)")

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """A pooled connection for the calling thread, which no fork may inherit."""
        with self._guard.using(), self.peewee.connection_context():
            yield

    @contextmanager
    def _write_transaction(self) -> Iterator[None]:
        with self._gate.held(), self._guard.using():
            self.peewee.connect()
            try:
                with self.peewee.atomic("IMMEDIATE"):
                    yield
            except BaseException:
                # After a failed fsync a connection must not be trusted to know what is on the disk.
                with suppress(Exception):
                    self.peewee.manual_close()
                raise
            self.peewee.close()

    def before_fork(self) -> None:
        if self._guard.before_fork():
            self.peewee.close_idle()

    def after_fork_in_parent(self) -> None:
        self._guard.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        _inherited.append((self.peewee, self._writer, self._checkpointer))
        self._gate.after_fork_in_child()
        self._connect()


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


def open_database(url: str, gate_timeout: float) -> Database:
    """The database that `SESGATE_DATABASE_URL` names; StoreError when there is no such kind or place."""
    scheme, _, rest = url.partition(":")
    if scheme != "sqlite":
        raise StoreError(
            f"{scheme or 'an empty text'!r} is no database that is known here; write sqlite:///path/to/file."
        )
    path = Path(rest.removeprefix("//"))
    if not path.name or not path.parent.is_dir():
        raise StoreError(f"The directory of the database file {path} does not exist; create it first.")
    return Database(path, gate_timeout)
