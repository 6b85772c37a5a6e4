"""The database: reads on pooled connections, writes through one group-committing thread a process."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import peewee
from playhouse.pool import PooledSqliteDatabase

from gateway.logs import get_logger
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.gate import WriteGate
from gateway.store.sql import Sql
from gateway.store.writer import Writer

T = TypeVar("T")
log = get_logger(__name__)

READ_CONNECTIONS = 32
CHECKPOINT_BYTES = 8 * 1024**2
SQLITE_NEEDED = (3, 35)  # RETURNING

_PRAGMAS = (
    ("page_size", 8192),
    ("auto_vacuum", "incremental"),
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("busy_timeout", 5000),
    ("wal_autocheckpoint", 0),  # a checkpoint never delays an acknowledgement; see _Checkpointer
    ("foreign_keys", 1),
    ("cache_size", -16_000),
    ("journal_size_limit", 64 * 1024**2),
)

_inherited: list[object] = []  # connections of a parent process: never used, and never closed, in a child


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
        self._checkpointer = _Checkpointer(self.path, self.peewee)
        self._writer = Writer(self.peewee, self._write_transaction, self._discard, self._checkpointer.nudge)

    @contextmanager
    def read(self) -> Iterator[Sql]:
        """A connection for statements that change nothing. StoreUnavailableError when the database cannot be asked."""
        try:
            with self.peewee.connection_context():
                yield Sql(self.peewee)
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
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

    @contextmanager
    def exclusive(self) -> Iterator[peewee.Database]:
        """peewee itself behind the write gate, outside a transaction: for migrations, which make their own."""
        with self._gate.held(), self.peewee.connection_context():
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

        def vacuum() -> None:
            with self._gate.held(), self.peewee.connection_context():
                self.peewee.execute_sql("PRAGMA incremental_vacuum(2000)").fetchall()

        with suppress(peewee.OperationalError):
            vacuum()

    @contextmanager
    def _write_transaction(self) -> Iterator[Any]:
        if self.peewee.is_closed():
            self.peewee.connect()
        with self._gate.held(), self.peewee.atomic("IMMEDIATE") as transaction:
            yield transaction

    def _discard(self) -> None:
        with suppress(Exception):  # whatever state it is in, it is not to be used again
            self.peewee.manual_close()

    def before_fork(self) -> None:
        self._gate.before_fork()

    def after_fork_in_parent(self) -> None:
        self._gate.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        _inherited.append((self.peewee, self._writer, self._checkpointer))
        self._gate.after_fork_in_child()
        self._connect()


class _Checkpointer:
    """Moves the write-ahead log into the database file, in a thread of its own and never inside a commit."""

    def __init__(self, path: Path, database: peewee.Database) -> None:
        self._log = path.with_name(path.name + "-wal")
        self._database = database
        self._due = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def nudge(self) -> None:
        """Called after each commit; cheap when there is nothing to do."""
        if self._due.is_set():
            return
        with suppress(OSError):
            if self._log.stat().st_size < CHECKPOINT_BYTES:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="store-checkpointer", daemon=True)
                self._thread.start()
            self._due.set()

    def close(self) -> None:
        self._closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _loop(self) -> None:
        while True:
            self._due.wait()
            if self._closing:
                return
            try:
                with self._database.connection_context():
                    # PASSIVE waits for nobody. The next writer starts the log anew once all of it was moved.
                    self._database.execute_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except peewee.PeeweeException as error:
                log.warning("store.checkpoint_failed", error=str(error))
            # The log's file does not shrink when it starts anew, so its size alone would call for a checkpoint after
            # every commit.
            threading.Event().wait(1)
            self._due.clear()


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
