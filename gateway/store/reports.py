"""Counts for people and monitors, computed from SQL when they are asked for."""

from __future__ import annotations

from gateway.metrics import Gauges
from gateway.store.control import CIRCUIT, PAUSE, read_lease
from gateway.store.db import Database
from gateway.store.sql import Sql
from gateway.store.times import now_micros


class Reports:
    """What the whole installation looks like at one moment."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def gauges(self) -> Gauges:
        """StoreUnavailableError when the database cannot be asked."""
        now = now_micros()
        with self._db.read() as sql:
            lease = read_lease(sql)
            return Gauges(
                recipients=_counts(sql, "SELECT status, count(*) FROM recipients GROUP BY status"),
                oldest_due_age=_oldest_due_age(sql, now),
                messages=int(sql.value("SELECT count(*) FROM messages")),
                unprocessed_notifications=int(
                    sql.value("SELECT count(*) FROM notifications WHERE processed_at IS NULL")
                ),
                suppressions=_counts(sql, "SELECT reason, count(*) FROM suppressions GROUP BY reason"),
                dispatcher_holder=lease.holder,
                dispatcher_epoch=lease.epoch,
                dispatcher_beat=lease.beat,
                circuit_open=_is_set(sql, CIRCUIT),
                paused=_is_set(sql, PAUSE),
                database_bytes=self._db.size(),
            )


def _counts(sql: Sql, statement: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in sql.all(statement)}


def _oldest_due_age(sql: Sql, now: int) -> float:
    oldest = sql.value(
        "SELECT min(next_attempt_at) FROM recipients WHERE status = 'QUEUED' AND next_attempt_at <= ?", (now,)
    )
    return 0.0 if oldest is None else (now - int(oldest)) / 1_000_000


def _is_set(sql: Sql, key: str) -> bool:
    """A circuit stays in the table, half open, until one mail has shown that SES takes mail again."""
    return sql.value("SELECT 1 FROM control WHERE key = ?", (key,)) is not None
