"""What the dispatcher's housekeeping does with recipients: lapsed claims, times that cannot be, old age."""

from __future__ import annotations

from datetime import timedelta

from gateway.lifecycle import Happening
from gateway.store.control import Lease, require_lease
from gateway.store.db import Database
from gateway.store.sending import AMBIGUOUS, happen
from gateway.store.sql import Sql
from gateway.store.statuses import UNFINISHED
from gateway.store.times import now_micros, span
from gateway.store.wrong_times import Spans, wrong_times


class Sweeping:
    """Each does one batch under the dispatcher's lease; LeaseLostError when that is another's."""

    def __init__(
        self, db: Database, *, dispatch_timeout: timedelta, claim_lease: timedelta, max_age: timedelta
    ) -> None:
        self._db = db
        self._spans = Spans(dispatch=span(dispatch_timeout), claim=span(claim_lease), age=span(max_age))

    def sweep_lapsed(self, lease: Lease, limit: int = 500) -> tuple[int, int]:
        """Settle claims whose worker is gone: (given back to QUEUED, become AMBIGUOUS)."""
        lapsed = "r.status = 'SENDING' AND r.claimed_until <= ?"
        if not self._any(f"recipients r WHERE {lapsed}"):
            return 0, 0

        def work(sql: Sql) -> tuple[int, int]:
            require_lease(sql, lease)
            # Locked as they are chosen: a worker that begins its attempt at this moment comes first, or finds nothing.
            rows = sql.all(
                "SELECT r.id, r.attempt_id, EXISTS (SELECT 1 FROM attempts a WHERE a.attempt_id = r.attempt_id)"
                f" FROM recipients r WHERE {lapsed} LIMIT ?{sql.to_take}",
                (now_micros(), limit),
            )
            ambiguous = [(id_, attempt_id) for id_, attempt_id, begun in rows if begun]
            for recipient_id, attempt_id in ambiguous:
                _lose_sight(sql, recipient_id, attempt_id)
            for recipient_id, _, begun in rows:
                if not begun:
                    happen(sql, recipient_id, Happening.RELEASE, "the call to SES was not begun in time")
            return len(rows) - len(ambiguous), len(ambiguous)

        return self._db.write(work)

    def correct_times(self, lease: Lease) -> int:
        """Bring back what a wrong clock, here or on another machine, has put further ahead than anything is ever put.

        The number of rows that were changed.
        """
        with self._db.read() as sql:
            if not wrong_times(sql, self._spans):
                return 0

        def work(sql: Sql) -> int:
            require_lease(sql, lease)
            return sum(wrong.correct(sql) for wrong in wrong_times(sql, self._spans))

        return self._db.write(work)

    def expire(self, lease: Lease, limit: int = 500) -> int:
        """End what is older than the maximum age; the last reason is kept in the new one."""
        aged = f"status IN ({UNFINISHED}) AND expires_at <= ?"
        if not self._any(f"recipients WHERE {aged}"):
            return 0

        def work(sql: Sql) -> int:
            require_lease(sql, lease)
            rows = sql.all(
                f"SELECT id, reason FROM recipients WHERE {aged} LIMIT ?{sql.to_take}", (now_micros(), limit)
            )
            for recipient_id, reason in rows:
                happen(sql, recipient_id, Happening.EXPIRE, f"gave up after the maximum age; {reason or 'never tried'}")
            return len(rows)

        return self._db.write(work)

    def _any(self, rows: str) -> bool:
        """Whether there are such rows at this moment, without the write gate."""
        with self._db.read() as sql:
            return sql.value(f"SELECT 1 FROM {rows} LIMIT 1", (now_micros(),)) is not None


def _lose_sight(sql: Sql, recipient_id: int, attempt_id: str) -> None:
    reason = "no outcome of the call to SES was recorded in time"
    if sql.run(
        "UPDATE attempts SET outcome = ?, detail = ?, finished_at = ? WHERE attempt_id = ? AND outcome IS NULL",
        (AMBIGUOUS, reason, now_micros(), attempt_id),
    ):
        sql.tally("attempts", AMBIGUOUS)
    happen(sql, recipient_id, Happening.LOSE_SIGHT, reason)
