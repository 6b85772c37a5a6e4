"""Retention: what is kept how long, and the rows that go when their time is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from gateway.credentials import DAY
from gateway.lifecycle import FINAL_WITH_AGE, Status
from gateway.settings import Settings
from gateway.store.control import Lease, require_lease
from gateway.store.db import Database
from gateway.store.sql import Sql, marks
from gateway.store.times import now_micros, span

# Events of SES may come for this long (a Transient bounce after its retries, a complaint after a holiday).
FINAL_AFTER = timedelta(days=14)
BATCH = 200
# As constants, for SQLite uses a partial index only where the statement repeats its condition.
_FINAL_WITH_AGE = ", ".join(f"'{status.value}'" for status in FINAL_WITH_AGE)


@dataclass(frozen=True, slots=True)
class Kept:
    """How long each kind of row is kept, as the settings `SESGATE_RETAIN_*` say."""

    content: timedelta
    failed_content: timedelta
    notifications: timedelta
    notification_ids: timedelta
    events: timedelta

    @classmethod
    def from_settings(cls, settings: Settings) -> Kept:
        return cls(
            content=settings.retain_content,
            failed_content=settings.retain_failed_content,
            notifications=settings.retain_notifications,
            notification_ids=settings.retain_notification_ids,
            events=settings.retain_events,
        )


class Retention:
    """Small transactions, one batch each, so that nobody waits long behind them."""

    def __init__(self, db: Database, kept: Kept) -> None:
        self._db = db
        self._kept = kept

    def run(self, lease: Lease) -> dict[str, int]:
        """One batch of every kind; the rows that went, by kind. Call it again while something went."""
        return {
            "ended": self._in_transaction(lease, self._end_aged),
            "contents": self._in_transaction(lease, self._delete_contents),
            "notification_texts": self._in_transaction(lease, self._empty_notifications),
            "notifications": self._in_transaction(lease, self._delete_notifications),
            "events": self._in_transaction(lease, self._delete_unmatched_events),
            "messages": self._in_transaction(lease, self._delete_messages),
            "usage": self._in_transaction(lease, self._delete_usage),
        }

    def give_back_space(self) -> None:
        self._db.free_pages()

    def _in_transaction(self, lease: Lease, delete: Callable[[Sql, int], int]) -> int:
        def work(sql: Sql) -> int:
            require_lease(sql, lease)
            return delete(sql, now_micros())

        return self._db.write(work)

    def _end_aged(self, sql: Sql, now: int) -> int:
        """A mail that SES has, and of which nothing more was heard, is at its end."""
        return sql.run(
            "UPDATE recipients SET ended_at = ? WHERE id IN (SELECT id FROM recipients WHERE ended_at IS NULL"
            f" AND status IN ({_FINAL_WITH_AGE}) AND changed_at <= ? LIMIT {BATCH})",
            (now, now - span(FINAL_AFTER)),
        )

    def _delete_contents(self, sql: Sql, now: int) -> int:
        """The octets of a mail go some time after its last recipient ended; later when a person may have to look.

        Only messages of that age are looked at, and they are the first ones: ids grow with time. They are taken in
        hand and then looked at again, for an operator may send one again at this moment (see store.operations).
        """
        ended = (
            "NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = contents.message_id AND (r.ended_at IS NULL"
            " OR r.ended_at > CASE WHEN r.status IN (?, ?) THEN ? ELSE ? END))"
        )
        cutoffs = (
            Status.FAILED.value,
            Status.EXPIRED.value,
            now - span(self._kept.failed_content),
            now - span(self._kept.content),
        )
        ids = [
            row[0]
            for row in sql.all(
                "SELECT message_id FROM contents WHERE message_id <="
                " (SELECT id FROM messages WHERE accepted_at <= ? ORDER BY accepted_at DESC LIMIT 1)"
                f" AND {ended} LIMIT {BATCH}{sql.to_take}",
                (now - span(min(self._kept.content, self._kept.failed_content)), *cutoffs),
            )
        ]
        if not ids:
            return 0
        return sql.run(f"DELETE FROM contents WHERE message_id IN ({marks(ids)}) AND {ended}", (*ids, *cutoffs))

    def _empty_notifications(self, sql: Sql, now: int) -> int:
        return sql.run(
            "UPDATE notifications SET message = NULL, next_attempt_at = NULL WHERE id IN (SELECT id FROM notifications"
            f" WHERE received_at <= ? AND message IS NOT NULL LIMIT {BATCH})",
            (now - span(self._kept.notifications),),
        )

    def _delete_notifications(self, sql: Sql, now: int) -> int:
        """Their ids stay longer than their texts, so that a late repetition by SNS is still known as one."""
        return sql.run(
            "DELETE FROM notifications WHERE id IN (SELECT id FROM notifications WHERE received_at <= ?"
            f" AND message IS NULL LIMIT {BATCH})",
            (now - span(self._kept.notification_ids),),
        )

    def _delete_unmatched_events(self, sql: Sql, now: int) -> int:
        """Events of a known recipient go with their message."""
        return sql.run(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE stored_at <= ? AND recipient_id IS NULL"
            f" LIMIT {BATCH})",
            (now - span(self._kept.events),),
        )

    def _delete_messages(self, sql: Sql, now: int) -> int:
        """A message goes with its recipients, attempts and events, once all of them are old.

        Its recipients are taken in hand and looked at again, for an operator may send one again at this moment.
        """
        cutoff = now - span(self._kept.events)
        ended = (
            "NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = messages.id"
            " AND (r.ended_at IS NULL OR r.ended_at > ?))"
        )
        ids = [
            row[0]
            for row in sql.all(
                f"SELECT id FROM messages WHERE accepted_at <= ? AND {ended} LIMIT {BATCH}", (cutoff, cutoff)
            )
        ]
        if not ids:
            return 0
        if sql.to_change:
            sql.all(f"SELECT id FROM recipients WHERE message_id IN ({marks(ids)}) ORDER BY id{sql.to_change}", ids)
        return sql.run(f"DELETE FROM messages WHERE id IN ({marks(ids)}) AND {ended}", (*ids, cutoff))

    def _delete_usage(self, sql: Sql, now: int) -> int:
        """What counts against no cap any more."""
        return sql.run(
            "DELETE FROM credential_usage WHERE (credential_id, period, begun_at) IN (SELECT credential_id, period,"
            f" begun_at FROM credential_usage WHERE begun_at <= ? LIMIT {BATCH})",
            (now - span(DAY.length) - span(DAY.step),),
        )
