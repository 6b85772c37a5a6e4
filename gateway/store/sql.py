"""Prepared SQL on a connection: what the stores speak on the hot paths.

peewee's query builder costs 0.2 ms a statement, the database 9 µs; so what runs once a mail is written as SQL with
`?` for every value. The text is the same for SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

import peewee
from peewee import __exception_wrapper__ as exception_wrapper  # type: ignore[attr-defined]  # missing in its stubs

Row = tuple[Any, ...]
_ROWS = 32
_PIECE = 256 * 1024


class Sql:
    """Statements on the connection that peewee holds for the calling thread."""

    def __init__(self, database: peewee.Database) -> None:
        # Not peewee's `execute_sql`, which makes a cursor for each statement and costs more than many of them.
        self._cursor = database.cursor()
        self._param = database.param
        self._locks_rows = bool(database.for_update)
        self.has_changed = False
        self.tallies: Counter[tuple[str, str]] = Counter()

    def tally(self, name: str, label: str, amount: int = 1) -> None:
        """Count something for good. The writer adds it up for its whole group, in the same transaction."""
        self.tallies[name, label] += amount

    @property
    def to_change(self) -> str:
        """Ends a SELECT of a row that this transaction is going to change, or to rely on.

        SQLite has one writer at a time and needs nothing; PostgreSQL locks the row until the commit. It is the lock
        that lets others refer to the row by a foreign key meanwhile.
        """
        return " FOR NO KEY UPDATE" if self._locks_rows else ""

    @property
    def to_take(self) -> str:
        """Like `to_change`, and leaves out the rows that another transaction has in hand."""
        return " FOR NO KEY UPDATE SKIP LOCKED" if self._locks_rows else ""

    def in_turn(self, subject: str, *, alone: bool = True) -> None:
        """Wait for whoever counts the same: what this transaction counts, others add to only after its commit.

        A lock of rows does not do for it, since the rows that others add are not there yet. Those that are not `alone`
        do not wait for one another, but for those that are, and these for them.
        """
        if self._locks_rows:
            lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
            self.all(f"SELECT {lock}(hashtextextended(?, 0))", (subject,))

    def run(self, statement: str, parameters: Sequence[object] = ()) -> int:
        """Execute a statement that changes rows; the number of rows it changed."""
        return int(self._execute(statement, parameters).rowcount)

    def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self.has_changed = True
        with exception_wrapper:
            self._cursor.executemany(self.spelled(statement), rows)

    def insert(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Like `many`, for an INSERT that ends with the VALUES of one row: up to 32 rows are one statement.

        At each step of a statement another thread may take the interpreter, and is to be waited for; `many` has a step
        for each row, and on PostgreSQL a message.
        """
        begin = 0
        while left := len(rows) - begin:
            size = min(1 << (left.bit_length() - 1), _ROWS)  # few lengths, so that the statements are prepared ones
            if size == 1:
                self._execute(statement, rows[begin])
            else:
                self._execute(_repeated(statement, size), list(chain.from_iterable(rows[begin : begin + size])))
            begin += size

    @property
    def fills(self) -> bool:
        """Whether large octets can be written piece by piece (see `fill`)."""
        return not self._locks_rows

    def fill(self, table: str, column: str, row_id: int, octets: bytes) -> None:
        """Write over the zeros of a blob in pieces, on SQLite.

        Bound to a statement they would be copied as a whole twice: when they are bound, and into the record.
        """
        self.has_changed = True
        with exception_wrapper, self._cursor.connection.blobopen(table, column, row_id) as blob:
            for piece in _pieces(octets):
                blob.write(piece)

    def all(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        cursor = self._execute(statement, parameters)
        with exception_wrapper:
            rows: list[Row] = cursor.fetchall()
        return rows

    def one(self, statement: str, parameters: Sequence[object] = ()) -> Row | None:
        rows = self.all(statement, parameters)
        return rows[0] if rows else None

    def value(self, statement: str, parameters: Sequence[object] = ()) -> Any:
        """The first column of the first row; None when there is no row."""
        row = self.one(statement, parameters)
        return None if row is None else row[0]

    def spelled(self, statement: str) -> str:
        """As this database wants it."""
        return statement if self._param == "?" else _with_param(statement, self._param)

    def _execute(self, statement: str, parameters: Sequence[object]) -> Any:
        # Set before it is known whether it does: whoever relies on it wants to be sure that nothing was changed.
        self.has_changed = self.has_changed or not statement.startswith("SELECT")
        with exception_wrapper:
            return self._cursor.execute(self.spelled(statement), parameters)


@cache
def _repeated(statement: str, rows: int) -> str:
    head, values, row = statement.rpartition(" VALUES ")
    return f"{head}{values}{', '.join([row] * rows)}"


def _pieces(octets: bytes) -> Iterator[memoryview]:
    with memoryview(octets) as whole:
        for start in range(0, len(octets), _PIECE):
            yield whole[start : start + _PIECE]


@cache
def _with_param(statement: str, param: str) -> str:
    return statement.replace("?", param)


def marks(values: Sequence[object]) -> str:
    """`?, ?, ?` for an IN list; the values themselves are always bound."""
    return ", ".join("?" * len(values))
