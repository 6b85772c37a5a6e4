"""Retention: what is kept how long, and the rows that go when their time is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

from gateway.credentials import DAY
from gateway.lifecycle import FINAL_WITH_AGE, Status
from gateway.settings import Settings
from gateway.store.control import Lease, require_lease
from gateway.store.db import Database
from gateway.store.ended import Page, Walk, go_on, read_page
from gateway.store.sql import Sql, marks
from gateway.store.statuses import in_status
from gateway.store.times import now_micros, span

# Events of SES may come for this long (a Transient bounce after its retries, a complaint after a holiday).
FINAL_AFTER = timedelta(days=14)
BATCH = 200
PAGES = 100
T = TypeVar("T")

# As constants, for SQLite uses a partial index only where the statement repeats its condition.
_FINAL_WITH_AGE = ", ".join(f"'{status.value}'" for status in FINAL_WITH_AGE)
_HAS_CONTENT = "EXISTS (SELECT 1 FROM contents c WHERE c.message_id = recipients.message_id)"
_CONTENTS = Walk("contents", wanted=_HAS_CONTENT)
_FAILED_CONTENTS = tuple(
    Walk(f"contents of {status}", in_status(status), _HAS_CONTENT) for status in (Status.FAILED, Status.EXPIRED)
)
_MESSAGES = Walk("messages")


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
    """Small transactions, one batch each, so that nobody waits long behind them.

    Each begins with the oldest: where the order is left open, PostgreSQL reads the table when it believes that much of
    it is old.
    """

    def __init__(self, db: Database, kept: Kept) -> None:
        self._db = db
        self._kept = kept

    def run(self, lease: Lease) -> dict[str, int]:
        """One batch of every kind; the rows that went, by kind. Call it again while something went."""
        return {
            "ended": self._in_transaction(lease, self._end_aged),
            "contents": self._contents(lease),
            "notification_texts": self._in_transaction(lease, self._empty_notifications),
            "notifications": self._in_transaction(lease, self._delete_notifications),
            "events": self._in_transaction(lease, self._delete_unmatched_events),
            "messages": self._walk(lease, _MESSAGES, self._kept.events, self._delete_messages),
            "suppression_history": self._in_transaction(lease, self._delete_suppression_history),
            "usage": self._in_transaction(lease, self._delete_usage),
        }

    def give_back_space(self) -> None:
        self._db.free_pages()

    def _in_transaction(self, lease: Lease, delete: Callable[[Sql, int], T]) -> T:
        def work(sql: Sql) -> T:
            require_lease(sql, lease)
            return delete(sql, now_micros())

        return self._db.write(work)

    def _end_aged(self, sql: Sql, now: int) -> int:
        """A mail that SES has, and of which nothing more was heard, is at its end."""
        return sql.run(
            "UPDATE recipients SET ended_at = ? WHERE id IN (SELECT id FROM recipients WHERE ended_at IS NULL"
            f" AND status IN ({_FINAL_WITH_AGE}) AND changed_at <= ? ORDER BY changed_at LIMIT {BATCH})",
            (now, now - span(FINAL_AFTER)),
        )

    def _walk(self, lease: Lease, walk: Walk, kept: timedelta, delete: Callable[[Sql, Page], tuple[int, bool]]) -> int:
        """Look at what ended that long ago until something went. What was looked at is not looked at again."""
        for _ in range(PAGES):
            with self._db.read() as sql:
                page = read_page(sql, walk, now_micros(), kept, BATCH)
            if page is None:
                return 0
            gone, complete = self._in_transaction(lease, partial(_delete_page, walk, page, delete))
            if gone or not complete:
                return gone
        return 0

    def _contents(self, lease: Lease) -> int:
        """The octets of a mail go some time after its last recipient ended; later when a person may have to look."""
        kept = [(_CONTENTS, self._kept.content), *((walk, self._kept.failed_content) for walk in _FAILED_CONTENTS)]
        return sum(self._walk(lease, walk, time, self._delete_contents) for walk, time in kept)

    def _delete_contents(self, sql: Sql, page: Page) -> tuple[int, bool]:
        """They are taken in hand and then looked at again, for an operator may send one again at this moment (see
        store.operations). What somebody has in hand is left, for another time.
        """
        now = now_micros()
        over = (
            "NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = contents.message_id AND (r.ended_at IS NULL"
            f" OR r.ended_at > CASE WHEN r.status IN ('{Status.FAILED}', '{Status.EXPIRED}') THEN ? ELSE ? END))"
        )
        cutoffs = (now - span(self._kept.failed_content), now - span(self._kept.content))
        select = f"SELECT message_id FROM contents WHERE message_id IN ({{}}) AND {over} ORDER BY message_id"
        found = [row[0] for row in sql.all(select.format(marks(page.messages)), (*page.messages, *cutoffs))]
        if not found:
            return 0, True
        taken = [row[0] for row in sql.all(select.format(marks(found)) + sql.to_take, (*found, *cutoffs))]
        if not taken:
            return 0, False
        gone = sql.run(f"DELETE FROM contents WHERE message_id IN ({marks(taken)}) AND {over}", (*taken, *cutoffs))
        return gone, len(taken) == len(found)

    def _empty_notifications(self, sql: Sql, now: int) -> int:
        """What waits to be understood is kept, however old: it may be the only word of a bounce."""
        return sql.run(
            "UPDATE notifications SET message = NULL WHERE id IN (SELECT id FROM notifications WHERE received_at <= ?"
            f" AND next_attempt_at IS NULL AND message IS NOT NULL ORDER BY received_at LIMIT {BATCH})",
            (now - span(self._kept.notifications),),
        )

    def _delete_notifications(self, sql: Sql, now: int) -> int:
        """Their ids stay longer than their texts, so that a late repetition by SNS is still known as one."""
        return sql.run(
            "DELETE FROM notifications WHERE id IN (SELECT id FROM notifications WHERE received_at <= ?"
            f" AND message IS NULL ORDER BY received_at LIMIT {BATCH})",
            (now - span(self._kept.notification_ids),),
        )

    def _delete_unmatched_events(self, sql: Sql, now: int) -> int:
        """Events of a known recipient go with their message."""
        return sql.run(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE stored_at <= ? AND recipient_id IS NULL"
            f" ORDER BY stored_at LIMIT {BATCH})",
            (now - span(self._kept.events),),
        )

    def _delete_suppression_history(self, sql: Sql, now: int) -> int:
        """Looks at the oldest: what ended first has the lowest id, or nearly so."""
        return sql.run(
            f"DELETE FROM suppression_history WHERE id < (SELECT min(id) FROM suppression_history) + {BATCH}"
            " AND ended_at <= ?",
            (now - span(self._kept.events),),
        )

    def _delete_messages(self, sql: Sql, page: Page) -> tuple[int, bool]:
        """A message goes with its recipients, attempts and events, once all of them are old.

        Its recipients are taken in hand and looked at again, for an operator may send one again at this moment.
        """
        cutoff = now_micros() - span(self._kept.events)
        over = (
            "NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = messages.id"
            " AND (r.ended_at IS NULL OR r.ended_at > ?))"
        )
        select = f"SELECT id FROM messages WHERE id IN ({marks(page.messages)}) AND {over}"
        ids = [row[0] for row in sql.all(select, (*page.messages, cutoff))]
        if not ids:
            return 0, True
        if sql.to_change:
            sql.all(f"SELECT id FROM recipients WHERE message_id IN ({marks(ids)}) ORDER BY id{sql.to_change}", ids)
        return sql.run(f"DELETE FROM messages WHERE id IN ({marks(ids)}) AND {over}", (*ids, cutoff)), True

    def _delete_usage(self, sql: Sql, now: int) -> int:
        """What counts against no cap any more."""
        return sql.run(
            "DELETE FROM credential_usage WHERE (credential_id, period, begun_at) IN (SELECT credential_id, period,"
            f" begun_at FROM credential_usage WHERE begun_at <= ? LIMIT {BATCH})",
            (now - span(DAY.length) - span(DAY.step),),
        )


def _delete_page(
    walk: Walk, page: Page, delete: Callable[[Sql, Page], tuple[int, bool]], sql: Sql, _now: int
) -> tuple[int, bool]:
    """What went, and whether all of the page is done: only then it is not looked at again."""
    gone, complete = delete(sql, page) if page.messages else (0, True)
    if complete:
        go_on(sql, walk, page)
    return gone, complete
