"""The store of notifications: the inbox of feedback, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from operator import itemgetter

from gateway.feedback import Feedback
from gateway.store.control import Lease, require_lease
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.events import Applied, Source, suppress_early, take_in
from gateway.store.sql import Sql, marks
from gateway.store.times import from_micros, now_micros, span, to_micros
from gateway.suppression_policy import Policy


@dataclass(frozen=True, slots=True)
class NewNotification:
    """A verified notification as SNS delivered it."""

    sns_message_id: str
    topic_arn: str
    message: str
    sns_timestamp: datetime


@dataclass(frozen=True, slots=True)
class Unprocessed:
    """A stored notification whose message still has to be understood."""

    id: int
    message: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Understood:
    """What a notification reports, and whether a mail that is not known may still become so."""

    id: int
    feedbacks: Sequence[Feedback]
    wait_for_match: bool


# The hint of the webhook goes out at once; the dispatcher looks after what nobody took up in this time.
_GRACE = timedelta(seconds=2)


class Notifications:
    """Stored before SNS has its 200, understood later, as often as it takes."""

    def __init__(self, db: Database, policy: Policy, *, dispatch_timeout: timedelta) -> None:
        self._db = db
        self._policy = policy
        self._dispatch_timeout = span(dispatch_timeout)

    def submit(self, notification: NewNotification) -> Future[int | None]:
        """Store it; the future gives its id after the commit, or None when it was stored before."""
        return self._db.submit_to(_insert_all, notification)

    def store(self, notification: NewNotification) -> int | None:
        """Like `submit`, and wait. StoreUnavailableError when nothing was kept."""
        return self._db.settle(self.submit(notification))

    def store_all(self, notifications: Sequence[NewNotification]) -> list[int | StoreError | None]:
        """Like `store` for each, in one group commit; in the place of one that is not stored stands why.

        Each is a piece of work of its own, so that one that the database does not take keeps none of the others out.
        """
        deadline = self._deadline()  # for all of them together, not for one after the other
        return [self._stored(future, deadline) for future in [self.submit(each) for each in notifications]]

    def _stored(self, future: Future[int | None], deadline: float) -> int | StoreError | None:
        try:
            return self._db.settle(future, deadline)
        except StoreError as error:
            return error

    def _deadline(self) -> float:
        return time.monotonic() + self._db.gate_timeout

    def mark_due(self, lease: Lease, limit: int) -> list[tuple[int, bool]]:
        """Mark unprocessed notifications for this dispatcher: ids, and whether nobody took up an earlier mark."""

        def work(sql: Sql) -> list[tuple[int, bool]]:
            require_lease(sql, lease)
            now = now_micros()
            due = f"SELECT id, dispatched_until {_DUE} ORDER BY next_attempt_at LIMIT ?{sql.to_take}"
            rows = sql.all(due, (now, now, limit))
            sql.many(
                "UPDATE notifications SET dispatched_until = ? WHERE id = ?",
                [(now + self._dispatch_timeout, row[0]) for row in rows],
            )
            return [(row[0], row[1] is not None) for row in rows]

        return self._db.write(work)

    def has_due(self) -> bool:
        now = now_micros()
        with self._db.read() as sql:
            return sql.value(f"SELECT 1 {_DUE} LIMIT 1", (now, now)) is not None

    def read(self, notification_id: int) -> Unprocessed | None:
        """A notification that is still to be understood; None when somebody has done it."""
        return next(iter(self.read_all((notification_id,))), None)

    def read_all(self, notification_ids: Sequence[int]) -> list[Unprocessed]:
        """Those that are still to be understood, in the order of their ids."""
        with self._db.read() as sql:
            rows = sql.all(
                f"SELECT id, message, received_at FROM notifications WHERE id IN ({marks(notification_ids)})"
                " AND processed_at IS NULL AND message IS NOT NULL ORDER BY id",
                notification_ids,
            )
        return [Unprocessed(id_, message, from_micros(received_at)) for id_, message, received_at in rows]

    def apply(
        self, notification_id: int, feedbacks: Sequence[Feedback], *, wait_for_match: bool
    ) -> tuple[Applied, ...]:
        """Write events, statuses and suppressions, and call the notification processed: one transaction.

        What became of each report; nothing when somebody has processed the notification before. With
        `wait_for_match`, UnmatchedError undoes everything when a report names a mail by an SES message id that no
        attempt has (yet).
        """
        one = Understood(notification_id, feedbacks, wait_for_match)
        return self._db.write(partial(_apply, one=one, policy=self._policy))

    def apply_all(self, understood: Sequence[Understood]) -> list[tuple[Applied, ...] | Exception]:
        """Like `apply` for each, in one group commit; in the place of one of which nothing is kept stands why."""
        deadline = self._deadline()
        futures = [self._db.submit(partial(_apply, one=one, policy=self._policy)) for one in understood]
        return [self._applied(future, deadline) for future in futures]

    def _applied(self, future: Future[tuple[Applied, ...]], deadline: float) -> tuple[Applied, ...] | Exception:
        try:
            return self._db.settle(future, deadline)
        except Exception as error:  # noqa: BLE001  it is told of this one, and harms no other
            return error

    def await_match(self, notification_id: int, feedbacks: Sequence[Feedback], reason: str, wait: timedelta) -> None:
        """Try again after `wait`, for the mail is not known yet; whom the reports name is not mailed meanwhile.

        The suppression stays even if the mail turns out to have gone to another address, which forwarded it: SES says
        that this one bounced or complained.
        """

        def work(sql: Sql) -> None:
            received_at = sql.value("SELECT received_at FROM notifications WHERE id = ?", (notification_id,))
            for feedback in feedbacks:
                suppress_early(sql, Source(notification_id, received_at), feedback, self._policy)
            _set_aside(sql, notification_id, reason, now_micros() + span(wait))

        self._db.write(work)

    def postpone(self, notification_id: int, reason: str, wait: timedelta) -> None:
        """Try again after `wait`."""
        self._db.write(lambda sql: _set_aside(sql, notification_id, reason, now_micros() + span(wait)))

    def park(self, notification_id: int, reason: str) -> None:
        """Leave it unprocessed and visible: it is not understood, and trying again would not help."""
        self._db.write(lambda sql: _set_aside(sql, notification_id, reason, None))


def _apply(sql: Sql, one: Understood, policy: Policy) -> tuple[Applied, ...]:
    received_at = sql.value(
        "UPDATE notifications SET processed_at = ?, next_attempt_at = NULL, dispatched_until = NULL, error = ''"
        " WHERE id = ? AND processed_at IS NULL RETURNING received_at",
        (now_micros(), one.id),
    )
    if received_at is None:
        return ()
    source = Source(one.id, received_at)
    return tuple(
        take_in(sql, source, feedback, policy, wait_for_match=one.wait_for_match) for feedback in one.feedbacks
    )


_ROWS = 50  # a statement's text depends on their number, and the database keeps what it has parsed of some


def _insert_all(sql: Sql, notifications: Sequence[NewNotification]) -> list[int | None]:
    """The new id of each, or None for one that was stored before, be it by the place before it.

    In the order of their message ids, so that no two processes that are given the same ones wait for each other.
    """
    now = now_micros()
    ordered = sorted((_values(each, now) for each in notifications), key=itemgetter(0))
    ids: dict[str, int] = {}
    for at in range(0, len(ordered), _ROWS):
        rows = ordered[at : at + _ROWS]
        ids.update(sql.all(_INSERT.format(rows=", ".join([_ROW] * len(rows))), list(chain.from_iterable(rows))))
    return [ids.pop(each.sns_message_id, None) for each in notifications]


def _values(notification: NewNotification, now: int) -> tuple[str, str, str, int, int, int]:
    return (
        notification.sns_message_id,
        notification.topic_arn,
        notification.message,
        to_micros(notification.sns_timestamp),
        now,
        now + span(_GRACE),
    )


_ROW = "(?, ?, ?, ?, ?, ?, '')"
_INSERT = (
    "INSERT INTO notifications (sns_message_id, topic_arn, message, sent_at, received_at, next_attempt_at, error)"
    " VALUES {rows} ON CONFLICT (sns_message_id) DO NOTHING RETURNING sns_message_id, id"
)

_DUE = (
    "FROM notifications WHERE processed_at IS NULL AND next_attempt_at <= ?"
    " AND (dispatched_until IS NULL OR dispatched_until <= ?)"
)


def _set_aside(sql: Sql, notification_id: int, reason: str, next_attempt_at: int | None) -> None:
    sql.run(
        "UPDATE notifications SET next_attempt_at = ?, dispatched_until = NULL, error = ?"
        " WHERE id = ? AND processed_at IS NULL",
        (next_attempt_at, reason, notification_id),
    )
