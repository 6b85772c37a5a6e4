"""PostgreSQL as a store: for more than one machine.

What the write gate is to SQLite, row locks are here: whatever reads a row to change it reads it `FOR UPDATE`. Two
transactions may still wait for each other; PostgreSQL then ends one, and the writer does its work again piece by piece.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import peewee

from gateway.store.db import Database
from gateway.store.errors import NoSpaceError, OutcomeUnknownError, StoreError, StoreUnavailableError
from gateway.store.fork import ForkGuard
from gateway.store.postgres_pool import PostgresPool
from gateway.store.sql import Sql
from gateway.store.writer import Writer, first_cause

CONNECTIONS = 10  # a process: one writes, the others read
_CONNECT_TIMEOUT = 5  # seconds
_OUTCOME_PATIENCE = 20.0  # seconds
# For the length of `migrate`; the number only has to be the same everywhere.
_MIGRATION_LOCK = 0x5E56A7E

# Durable whatever the server's default is. A transaction that waits or hangs is ended by the server, so that a stopped
# process keeps nobody out for long.
_SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": "4000",
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "5000",
    "client_encoding": "UTF8",
    # Each statement here has its index. A statement that was prepared while a table had a page or two reads all of the
    # table, and goes on so until the next ANALYZE: after some thousand mails that took most of the time.
    "enable_seqscan": "off",
    # Where there is no index, that makes a statement so dear by the planner's count that it would be compiled first.
    "jit": "off",
}

_inherited: list[object] = []


class PostgresDatabase(Database):
    """One PostgreSQL database. It is connected when it is used."""

    def __init__(self, name: str, gate_timeout: float, parameters: dict[str, Any]) -> None:
        super().__init__(gate_timeout)
        self._name = name
        self._parameters = parameters
        self._connect()

    def _connect(self) -> None:
        session = [f"-c {name}={value}" for name, value in _SESSION.items()]
        parameters = {"connect_timeout": _CONNECT_TIMEOUT, "application_name": "sesgate", **self._parameters}
        parameters["options"] = " ".join([*filter(None, [parameters.get("options")]), *session])  # the last one counts
        self.peewee: PostgresPool = PostgresPool(
            self._name, max_connections=CONNECTIONS, timeout=5, prefer_psycopg3=True, **parameters
        )
        self._guard = ForkGuard()
        self._writer = Writer(self.peewee, self._write_transaction, lambda: None, _in_the_way)

    def create(self) -> None:
        """The database itself is made by its administrator."""

    @property
    def exists(self) -> bool:
        return True

    @contextmanager
    def exclusive(self) -> Iterator[peewee.Database]:
        with self._reachable(), self._guard:
            self.peewee.connect()
            try:
                # Waits for another `migrate`, however long that takes.
                self.peewee.execute_sql("SET lock_timeout = 0")
                self.peewee.execute_sql("SET statement_timeout = 0")
                self.peewee.execute_sql("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
                yield self.peewee
            finally:
                # The session ends with its lock and its settings; neither may go back into the pool.
                self.peewee.manual_close()

    def transaction(self) -> Any:
        return self.peewee.atomic()

    def close(self) -> None:
        super().close()
        self.peewee.close_all()

    def clock_skew(self) -> float:
        with self.read() as sql:
            sql.value("SELECT 1")  # connects, which takes time
            before = time.time()
            theirs = float(sql.value("SELECT extract(epoch FROM clock_timestamp())"))
            return (before + time.time()) / 2 - theirs

    def size(self) -> int:
        with self.read() as sql:
            return int(sql.value("SELECT pg_database_size(current_database())"))

    def free_pages(self) -> None:
        """Autovacuum does it."""

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (peewee.OperationalError, peewee.InterfaceError) as error:
            raise StoreUnavailableError(f"The database cannot be reached ({_one_line(error)}).") from error

    @contextmanager
    def _connection(self) -> Iterator[None]:
        with self._guard, self.peewee.connection_context():
            yield

    @contextmanager
    def _write_transaction(self) -> Iterator[Callable[[], None]]:
        """A commit whose answer is lost is looked up, so that `nothing was kept` is never said of what was."""
        with self._guard:
            self.peewee.connect()
            committing = False
            try:
                self.peewee.begin_known()
                yield self._begin_anew
                committing = True
                self.peewee.commit()
            except BaseException as error:
                self._drop_connections()
                if not (committing and self._was_committed(self.peewee.transaction_id)):
                    if _is_full(error):
                        raise NoSpaceError("The database server has no room for the write.") from error
                    raise
                return
            self.peewee.close()

    def _begin_anew(self) -> None:
        self.peewee.rollback()
        self.peewee.begin_known()

    def _drop_connections(self) -> None:
        """It may be the connection of this transaction that failed, and with it all the others of the pool."""
        for step in (self.peewee.rollback, self.peewee.manual_close, self.peewee.close_idle):
            with suppress(Exception):
                step()

    def _was_committed(self, transaction_id: str) -> bool:
        """Ask the server, as soon as it can be asked again. OutcomeUnknownError when it does not come back."""
        deadline = time.monotonic() + _OUTCOME_PATIENCE
        while time.monotonic() < deadline:
            try:
                with self.peewee.connection_context():
                    status = Sql(self.peewee).value("SELECT pg_xact_status(?::xid8)", (transaction_id,))
            except (peewee.DatabaseError, peewee.InterfaceError):
                status = "in progress"
            if status != "in progress":
                return bool(status == "committed")
            time.sleep(0.1)
        raise OutcomeUnknownError("The database went away during a commit and did not come back.")

    def before_fork(self) -> None:
        if self._guard.before_fork():
            self.peewee.close_idle()

    def after_fork_in_parent(self) -> None:
        self._guard.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        _inherited.append((self.peewee, self._writer))
        self._connect()


def open_postgres(url: str, gate_timeout: float) -> PostgresDatabase:
    """`postgresql://user:password@host:port/name?sslmode=verify-full`, with libpq's own parameters behind the `?`.

    A host may also be a directory of unix sockets (`?host=/run/postgresql`). StoreError when the URL is malformed, or
    the driver is not installed.
    """
    try:
        import psycopg  # noqa: F401, PLC0415  an extra: who uses SQLite does not need it
    except ImportError:
        raise StoreError("PostgreSQL needs psycopg, which is not installed: pip install 'sesgate[postgres]'.") from None
    parts = urlsplit(url)
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise StoreError("The database's URL names no database; write postgresql://user:password@host/name.")
    given = {"user": parts.username, "password": parts.password, "host": parts.hostname}
    parameters: dict[str, Any] = {key: unquote(value) for key, value in given.items() if value}
    try:
        if parts.port:
            parameters["port"] = parts.port
    except ValueError:
        raise StoreError("The port in the database's URL is no number.") from None
    return PostgresDatabase(name, gate_timeout, parameters | dict(parse_qsl(parts.query)))


def _in_the_way(error: BaseException) -> bool:
    """A deadlock, a lock that was waited for too long, a serialization failure (appendix A of the manual)."""
    return getattr(error, "sqlstate", None) in {"40P01", "55P03", "40001"}


def _is_full(error: BaseException) -> bool:
    """The server's disk is full; appendix A calls it `disk_full`."""
    return getattr(first_cause(error), "sqlstate", None) == "53100"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
