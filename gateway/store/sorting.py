"""A list in the order of its keys, whatever its size: in a file of its own that is gone with the program."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from gateway.store.errors import StoreError
from gateway.store.times import from_micros, to_micros
from gateway.suppression_files import Entry, Row
from gateway.suppression_policy import Reason

_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Of entries with one key the strongest reason comes first, and of these the one that holds longest.
_SORTED = (
    "SELECT address_key, address, reason, scope, source, detail, note, since, expires_at FROM entries"
    " ORDER BY address_key, rank DESC, expires_at DESC NULLS FIRST, rowid"
)
_FETCH = 1000


class SortedEntries:
    """Takes rows in any order and gives one for each key, the strongest, in the order of the keys.

    Rows that come by their keys touch neighbouring pages of an index; in the order of a file nearly each would touch
    another one, and the database would write ten times as much. SQLite sorts them, in little memory, in a temporary
    file that has no name: nothing is left of it whatever happens. StoreError when there is no room for it.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(
            "CREATE TABLE entries (address_key TEXT, rank INTEGER, address TEXT, reason TEXT, scope TEXT, source TEXT,"
            " detail TEXT, note TEXT, since INTEGER, expires_at INTEGER)"
        )
        self._connection.execute("BEGIN")
        self.added = 0

    def add(self, rows: Iterable[Row]) -> None:
        with _room():
            self.added += self._connection.executemany(_INSERT, map(_values, rows)).rowcount

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        with _room():
            found = self._connection.execute(_SORTED)
            last: str | None = None
            while some := found.fetchmany(_FETCH):
                for key, *fields in some:
                    if key != last:
                        last = key
                        yield key, _entry(*fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"The list could not be sorted in the directory for temporary files ({error}); SQLITE_TMPDIR names another"
            " one."
        ) from error


def _values(row: Row) -> tuple[object, ...]:
    entry = row.entry
    return (
        row.key,
        entry.reason.rank,
        entry.address,
        entry.reason.value,
        entry.scope,
        entry.source,
        entry.detail,
        entry.note,
        to_micros(entry.since),
        None if entry.expires is None else to_micros(entry.expires),
    )


def _entry(
    address: str, reason: str, scope: str, source: str, detail: str, note: str, since: int, expires: int | None
) -> Entry:
    ends = None if expires is None else from_micros(expires)
    return Entry(address, Reason(reason), scope, source, detail, note, from_micros(since), ends)
