"""SQLite as a store: one file, one machine, many processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import peewee
from playhouse.pool import PooledSqliteDatabase

from gateway.logs import get_logger
from gateway.store.checkpointer import Checkpointer
from gateway.store.db import Database
from gateway.store.errors import NoSpaceError, OutcomeUnknownError, StoreError, StoreUnavailableError
from gateway.store.fork import ForkGuard
from gateway.store.gate import WriteGate
from gateway.store.writer import Writer

log = get_logger(__name__)

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
    ("temp_store", "memory"),  # a full /tmp is nobody's concern
)

# What a child was born with although a thread of its parent would not leave SQLite: never used, and never closed.
_inherited: list[object] = []


class SqliteDatabase(Database):
    """One SQLite file, and the write gate beside it."""

    def __init__(self, path: Path, gate_timeout: float) -> None:
        if sqlite3.sqlite_version_info < SQLITE_NEEDED:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed.")
        super().__init__(gate_timeout)
        self.path = path
        self._gate = WriteGate(path.with_name(path.name + "-gate"))
        self._connect()

    def _connect(self) -> None:
        self.peewee = PooledSqliteDatabase(
            str(self.path), max_connections=READ_CONNECTIONS, timeout=5, check_same_thread=False, pragmas=_PRAGMAS
        )
        self._guard = ForkGuard()
        self._checkpointer = Checkpointer(self.peewee, self.path, self._connection, self._gate.held)
        self._writer = Writer(self.peewee, self._write_transaction, self._checkpointer.nudge)

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
        super().close()
        self._checkpointer.close()
        self.peewee.close_all()
        self._gate.close()

    def size(self) -> int:
        """Bytes on disk, with the write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def free_pages(self) -> None:
        """Give pages of deleted rows back to the file system, some at a time."""
        with suppress(sqlite3.OperationalError), self._gate.held(), self._connection():
            # The pragma frees one page a step, and only a script is stepped to its end.
            self.peewee.connection().executescript("PRAGMA incremental_vacuum(2000)")

    def transaction(self) -> Any:
        return self.peewee.atomic("IMMEDIATE")

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """A pooled connection for the calling thread, which no fork may inherit. One that failed is not used again."""
        with self._guard:
            self.peewee.connect()
            try:
                yield
            except (peewee.PeeweeException, sqlite3.Error):
                # Before it is back in the pool, where another thread would take it and sync what was not synced.
                self._discard(self.peewee.manual_close)
                raise
            finally:
                if not self.peewee.is_closed():
                    self.peewee.close()

    @contextmanager
    def _write_transaction(self) -> Iterator[Callable[[], None]]:
        committing = False
        with self._gate.held(), self._guard:
            self.peewee.connect()
            try:
                with self.peewee.atomic("IMMEDIATE") as transaction:
                    yield transaction.rollback
                    committing = True
            except BaseException as error:
                voided = not committing or self._void()
                self._discard(self.peewee.manual_close)
                if (cause := _cause(error)) is None:
                    raise
                raise _told(cause, voided=voided) from error
            self.peewee.close()

    def _void(self) -> bool:
        """Make sure that no recovery brings back the transaction whose commit failed; whether that is sure.

        When the fsync of a commit fails, nobody sees the transaction, and the next one is written over it. But until
        then it stands whole in the write-ahead log, and if all programs end without closing the file, the next to open
        it takes it for committed. So, before anybody is told that nothing was kept, and before the gate opens, page 1
        is written over its beginning: the frames behind it, whose checksums go on from those before, count no more.
        """
        try:
            with self._bystander(), closing(self._raw()) as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                connection.execute(f"PRAGMA user_version = {version}")  # writes, whatever the value was
        except sqlite3.Error as error:
            log.error("store.void_failed", error=str(error))
            return False
        return True

    def _discard(self, close: Callable[[], object]) -> None:
        """Close what failed. After a failed fsync a connection must not be trusted, and must not sync again.

        The kernel tells a lost write once and then forgets it, so that a second fsync of the same file succeeds. That
        is what SQLite does when it closes its last connection; with another one open it closes the file and no more.
        """
        with suppress(Exception), self._bystander():
            close()
        with suppress(Exception):
            close()

    @contextmanager
    def _bystander(self) -> Iterator[None]:
        """A connection that only keeps others from being the last one."""
        with closing(self._raw()) as connection:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            yield

    def _raw(self) -> sqlite3.Connection:
        """A connection outside the pool, with files of its own, where every statement is a transaction."""
        connection = sqlite3.connect(self.path, timeout=5, isolation_level=None)
        for name, value in _PRAGMAS:
            connection.execute(f"PRAGMA {name} = {value}")
        return connection

    def before_fork(self) -> None:
        if self._guard.before_fork():
            self.peewee.close_idle()

    def after_fork_in_parent(self) -> None:
        self._guard.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        _inherited.append((self.peewee, self._writer, self._checkpointer))
        self._gate.after_fork_in_child()
        self._connect()


def open_sqlite(url: str, gate_timeout: float) -> SqliteDatabase:
    """`sqlite:///absolute/path` or `sqlite:relative/path`; StoreError when its directory does not exist."""
    rest = url.partition(":")[2]
    path = Path("/" + rest.lstrip("/")) if rest.startswith("/") else Path(rest)
    if not path.name or not path.parent.is_dir():
        raise StoreError(
            f"The directory of the database file {path} does not exist; run `sesgate migrate` first, or create it."
        )
    return SqliteDatabase(path, gate_timeout)


def _cause(error: BaseException | None) -> sqlite3.Error | None:
    """SQLite's own error at the beginning of a chain: it may end a transaction itself, and rolling back fails then."""
    found = None
    while error is not None:
        if isinstance(error, sqlite3.Error):
            found = error
        error = error.__context__
    return found


def _told(cause: sqlite3.Error, *, voided: bool) -> StoreUnavailableError:
    """What whoever waits for a transaction is told of its failure.

    A write that found no room did not write the mark of the commit, so there is nothing to be voided. The index is
    written after the mark.
    """
    code = getattr(cause, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL or (voided and code == sqlite3.SQLITE_IOERR_SHMSIZE):
        return NoSpaceError(f"The disk has no room for the write ({cause}).")
    if voided:
        return StoreUnavailableError(f"The database did not take the write ({cause}).")
    return OutcomeUnknownError(
        f"The database failed in the middle of a commit ({cause}), and once more right after it."
    )
