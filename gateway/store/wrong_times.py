"""Times that a wrong clock, here or on another machine, has put further ahead than anything is ever put.

Left alone they would stop what they belong to until then. Each kind is looked for by a read on an index, for that is
done often; only where something is found is it written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from gateway.lifecycle import Status
from gateway.store.control import CIRCUIT
from gateway.store.sql import Sql
from gateway.store.statuses import UNFINISHED, unsettled
from gateway.store.times import now_micros, span

# Longer than any wait between two attempts, than the circuit stays open, and than honest clocks differ.
_LONGEST_BACKOFF = timedelta(minutes=75)
_LONGEST_CIRCUIT = timedelta(minutes=11)
_SKEW = timedelta(minutes=1)

# As the partial index spells it.
_UNFINISHED = f"status IN ({UNFINISHED})"


@dataclass(frozen=True, slots=True)
class Spans:
    """How far ahead an honest clock puts things, in microseconds."""

    dispatch: int
    claim: int
    age: int


@dataclass(frozen=True, slots=True)
class WrongTime:
    """Rows of `table` that are `where` they cannot be, and what is put right: SQL, and the values bound to it."""

    table: str
    where: str
    values: tuple[object, ...]
    put: str
    right: tuple[object, ...]

    def is_found(self, sql: Sql) -> bool:
        return sql.value(f"SELECT 1 FROM {self.table} WHERE {self.where} LIMIT 1", self.values) is not None

    def correct(self, sql: Sql) -> int:
        return sql.run(f"UPDATE {self.table} SET {self.put} WHERE {self.where}", (*self.right, *self.values))


def wrong_times(sql: Sql, spans: Spans) -> list[WrongTime]:
    """All kinds that there are rows of at this moment."""
    return [wrong for wrong in _kinds(sql, now_micros(), spans) if wrong.is_found(sql)]


def _kinds(sql: Sql, now: int, spans: Spans) -> Iterator[WrongTime]:
    far, soon = now + span(_LONGEST_BACKOFF), now + span(_SKEW)
    for (credential_id,) in sql.all("SELECT id FROM credentials"):
        yield WrongTime(
            "recipients",
            "status = 'QUEUED' AND credential_id = ? AND next_attempt_at > ?"
            " AND (next_attempt_at > ? OR (attempts = 0 AND reason = ''))",
            (credential_id, soon, far),
            "next_attempt_at = ?",
            (now,),
        )
    marked = "status = 'QUEUED' AND dispatched_until IS NOT NULL AND dispatched_until > ?"
    yield WrongTime("recipients", marked, (now + spans.dispatch,), "dispatched_until = NULL", ())
    claimed = now + spans.claim
    yield WrongTime(
        "recipients", "status = 'SENDING' AND claimed_until > ?", (claimed,), "claimed_until = ?", (claimed,)
    )
    oldest = now + spans.age
    yield WrongTime(
        "recipients", f"{_UNFINISHED} AND expires_at > ?", (oldest + span(_SKEW),), "expires_at = ?", (oldest,)
    )
    for status in (Status.AMBIGUOUS, Status.HELD):
        yield from _unsettled(unsettled(status), now, soon)
    unprocessed = "processed_at IS NULL AND next_attempt_at IS NOT NULL"
    again = "next_attempt_at = ?, dispatched_until = NULL"
    yield WrongTime("notifications", f"{unprocessed} AND next_attempt_at > ?", (far,), again, (now,))
    marked = "processed_at IS NULL AND dispatched_until IS NOT NULL AND dispatched_until > ?"
    yield WrongTime("notifications", marked, (now + spans.dispatch,), again, (now,))
    # By the newest report it is judged whether SES has fallen silent.
    newest = "id = (SELECT max(id) FROM events) AND stored_at > ?"
    yield WrongTime("events", newest, (soon,), "stored_at = ?", (now,))
    longest = now + span(_LONGEST_CIRCUIT)
    yield WrongTime("control", "key = ? AND until > ?", (CIRCUIT, longest), "until = ?", (now,))


def _unsettled(where: str, now: int, soon: int) -> Iterator[WrongTime]:
    """What waits for evidence or a person is judged by these two."""
    of_them = f"attempt_id IN (SELECT attempt_id FROM recipients WHERE {where} AND changed_at > ?)"
    yield WrongTime("attempts", f"{of_them} AND started_at > ?", (soon, soon), "started_at = ?", (now,))
    yield WrongTime("recipients", f"{where} AND changed_at > ?", (soon,), "changed_at = ?", (now,))
