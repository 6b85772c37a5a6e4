"""Pieces of work that share a transaction: together while all goes well, each in a savepoint of its own when not.

A savepoint for each piece costs two statements and a second copy of every page that it touches, nearly always for
nothing. So a group runs without; and when one piece fails after it has changed something, the transaction begins anew,
and every piece, now in its savepoint, takes nobody along. Work is run again then, and must bear it: whatever it does
outside the database, it does in whoever waits for its future.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import peewee

from gateway.store.errors import StoreError
from gateway.store.sql import Sql

P = TypeVar("P")
T = TypeVar("T")
RunAll = Callable[[Sql, Sequence[P]], Sequence[T | Exception]]
Tallies = Counter[tuple[str, str]]

# What the database says of one statement, while the transaction could go on without it.
_REFUSALS = (peewee.IntegrityError, peewee.DataError, peewee.ProgrammingError)


class Work(Future[Any]):
    """A piece of work that waits for the next transaction, and the future of whoever submitted it.

    All the `piece`s of a group with the same `run_all` are one call. Without `run_all` the piece is itself to be
    called, alone.
    """

    def __init__(self, run_all: RunAll[Any, Any] | None, piece: Any) -> None:
        super().__init__()
        self.run_all = run_all
        self.piece = piece
        self.outcome: Any = None
        self.error: Exception | None = None

    def cancel(self) -> bool:
        """Whoever gave up waits in the queue until the gate opens; the mail that was to be stored need not."""
        cancelled = super().cancel()
        if cancelled:
            self.piece = None
        return cancelled

    def settle(self) -> None:
        self.piece = None
        if self.error is not None:
            self.set_exception(self.error)
        else:
            self.set_result(self.outcome)


def run_group(database: peewee.Database, group: Sequence[Work], begin_anew: Callable[[], None]) -> Tallies:
    """Give each its outcome or its error; what all of them counted. Raises what has ended the whole transaction.

    `begin_anew` rolls the transaction back and begins it again.
    """
    try:
        return _together(database, group)
    except _REFUSALS:
        pass
    except peewee.PeeweeException:
        raise  # a full disk or a lost connection
    except Exception:  # noqa: BLE001, S110  it belongs to whoever asked for the work, and is met again there
        pass
    begin_anew()
    return _apart(database, group)


def _together(database: peewee.Database, group: Sequence[Work]) -> Tallies:
    tallies: Tallies = Counter()
    for works in _by_kind(group):
        sql = Sql(database)
        try:
            _run(sql, works)
        except peewee.PeeweeException:
            raise
        except Exception as error:
            if sql.has_changed or len(works) > 1:
                raise
            works[0].error = error
        else:
            tallies.update(sql.tallies)
    return tallies


def _apart(database: peewee.Database, group: Sequence[Work]) -> Tallies:
    tallies: Tallies = Counter()
    for work in group:
        sql = Sql(database)
        work.outcome = work.error = None
        try:
            with _savepoint(sql):
                _run(sql, (work,))
        except _REFUSALS as error:
            work.error = StoreError(f"The database refused the write ({error}).")
            work.error.__cause__ = error
        except peewee.PeeweeException:
            raise
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked for the work
            work.error = error
        else:
            tallies.update(sql.tallies)
    return tallies


def _by_kind(group: Iterable[Work]) -> Iterable[Sequence[Work]]:
    """Those that are run by one call, at the place of the first of them."""
    kinds: dict[object, list[Work]] = {}
    for work in group:
        kinds.setdefault(work if work.run_all is None else work.run_all, []).append(work)
    return kinds.values()


def _run(sql: Sql, works: Sequence[Work]) -> None:
    run_all = works[0].run_all
    if run_all is None:
        works[0].outcome = works[0].piece(sql)
        return
    outcomes = run_all(sql, [work.piece for work in works])
    for work, outcome in zip(works, outcomes, strict=True):
        if isinstance(outcome, Exception):
            work.error = outcome
        else:
            work.outcome = outcome


@contextmanager
def _savepoint(sql: Sql) -> Iterator[None]:
    """peewee's own makes up a new name each time, which the database would have to parse anew."""
    sql.run("SAVEPOINT work")
    try:
        yield
    except Exception:
        sql.run("ROLLBACK TO work")
        raise
    finally:
        sql.run("RELEASE work")
