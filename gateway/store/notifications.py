"""The store of notifications: the inbox of feedback, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.addresses import address_key
from gateway.feedback import EventKind, Feedback
from gateway.lifecycle import Status, happening_of
from gateway.store.control import Lease, require_lease
from gateway.store.db import Database
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.sending import happen
from gateway.store.sql import Sql
from gateway.store.suppressions import suppress
from gateway.store.times import from_micros, now_micros, span, to_micros
from gateway.suppression_policy import rule


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
class Applied:
    """One report that was taken in: whom it is about, and the status of that recipient by now.

    Without a known mail there is neither a message nor a status, and `recipient` is the address that SES reported, if
    any. `new` is False for a report that was taken in before, under whatever SNS message id.
    """

    kind: EventKind
    message_ulid: str | None
    recipient: str | None
    attempt_id: str | None
    status: Status | None
    new: bool


class UnmatchedError(Exception):
    """A report names a mail that is not known, maybe not yet: the answer of SES may still be on its way to us."""


# The hint of the webhook goes out at once; the dispatcher looks after what nobody took up in this time.
_GRACE = timedelta(seconds=2)


class Notifications:
    """Stored before SNS has its 200, understood later, as often as it takes."""

    def __init__(self, db: Database, *, dispatch_timeout: timedelta) -> None:
        self._db = db
        self._dispatch_timeout = span(dispatch_timeout)

    def submit(self, notification: NewNotification) -> Future[int | None]:
        """Store it; the future gives its id after the commit, or None when it was stored before."""

        def insert(sql: Sql) -> int | None:
            now = now_micros()
            stored: int | None = sql.value(
                "INSERT INTO notifications (sns_message_id, topic_arn, message, sent_at, received_at, next_attempt_at,"
                " error) VALUES (?, ?, ?, ?, ?, ?, '') ON CONFLICT (sns_message_id) DO NOTHING RETURNING id",
                (
                    notification.sns_message_id,
                    notification.topic_arn,
                    notification.message,
                    to_micros(notification.sns_timestamp),
                    now,
                    now + span(_GRACE),
                ),
            )
            return stored

        return self._db.submit(insert)

    def store(self, notification: NewNotification) -> int | None:
        """Like `submit`, and wait. StoreUnavailableError when nothing was kept."""
        return self._db.settle(self.submit(notification))

    def store_all(self, notifications: Sequence[NewNotification]) -> list[int | StoreError | None]:
        """Like `store` for each, in one group commit; in the place of one that is not stored stands why.

        Each is a piece of work of its own, so that one that the database does not take keeps none of the others out.
        """
        futures = [self.submit(each) for each in notifications]
        wait_for(futures, timeout=self._db.gate_timeout)  # for all of them together, and not for one after the other
        return [self._outcome(future) for future in futures]

    def _outcome(self, future: Future[int | None]) -> int | StoreError | None:
        if future.cancel():  # it was not begun, and never will be
            return StoreUnavailableError(f"The database was busy for {self._db.gate_timeout:g} s.")
        try:
            return self._db.settle(future)
        except StoreError as error:
            return error

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
        with self._db.read() as sql:
            row = sql.one(
                "SELECT message, received_at FROM notifications"
                " WHERE id = ? AND processed_at IS NULL AND message IS NOT NULL",
                (notification_id,),
            )
        return None if row is None else Unprocessed(notification_id, row[0], from_micros(row[1]))

    def apply(
        self, notification_id: int, feedbacks: Sequence[Feedback], *, wait_for_match: bool
    ) -> tuple[Applied, ...]:
        """Write events, statuses and suppressions, and call the notification processed: one transaction.

        What became of each report; nothing when somebody has processed the notification before. With
        `wait_for_match`, UnmatchedError undoes everything when a report names a mail by an SES message id that no
        attempt has (yet).
        """

        def work(sql: Sql) -> tuple[Applied, ...]:
            processed = sql.run(
                "UPDATE notifications SET processed_at = ?, next_attempt_at = NULL, dispatched_until = NULL, error = ''"
                " WHERE id = ? AND processed_at IS NULL",
                (now_micros(), notification_id),
            )
            if not processed:
                return ()
            return tuple(_apply(sql, notification_id, feedback, wait_for_match) for feedback in feedbacks)

        return self._db.write(work)

    def await_match(self, notification_id: int, feedbacks: Sequence[Feedback], reason: str, wait: timedelta) -> None:
        """Try again after `wait`, for the mail is not known yet; whom the reports name is not mailed meanwhile.

        The suppression stays even if the mail turns out to have gone to another address, which forwarded it: SES says
        that this one bounced or complained.
        """

        def work(sql: Sql) -> None:
            for feedback in feedbacks:
                _suppress(sql, feedback, None)
            _set_aside(sql, notification_id, reason, now_micros() + span(wait))

        self._db.write(work)

    def postpone(self, notification_id: int, reason: str, wait: timedelta) -> None:
        """Try again after `wait`."""
        self._db.write(lambda sql: _set_aside(sql, notification_id, reason, now_micros() + span(wait)))

    def park(self, notification_id: int, reason: str) -> None:
        """Leave it unprocessed and visible: it is not understood, and trying again would not help."""
        self._db.write(lambda sql: _set_aside(sql, notification_id, reason, None))


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


@dataclass(frozen=True, slots=True)
class _Match:
    recipient_id: int
    address: str
    address_key: str
    status: Status
    attempt_id: str
    message_ulid: str


def _apply(sql: Sql, notification_id: int, feedback: Feedback, wait_for_match: bool) -> Applied:
    match = _match(sql, feedback)
    if match is None and feedback.attempt_id is None and wait_for_match:
        raise UnmatchedError(f"no attempt has the SES message id {feedback.ses_message_id}")
    new = _insert_event(sql, notification_id, feedback, match) or _adopt_event(sql, feedback, match)
    status = None if match is None else match.status
    if new:
        status = _settle(sql, feedback, match)
        _suppress(sql, feedback, match)
    return Applied(
        kind=feedback.kind,
        message_ulid=None if match is None else match.message_ulid,
        recipient=feedback.address if match is None else match.address,
        attempt_id=feedback.attempt_id if match is None else match.attempt_id,
        status=status,
        new=new,
    )


def _settle(sql: Sql, feedback: Feedback, match: _Match | None) -> Status | None:
    """Let the recipient become what the report proves; its status then."""
    if match is None:
        return None
    return happen(sql, match.recipient_id, happening_of(feedback), _explain(feedback))


def _match(sql: Sql, feedback: Feedback) -> _Match | None:
    """The recipient a report is about: by our attempt id, else by the SES message id. Never by an address."""
    for column, value in (("attempt_id", feedback.attempt_id), ("ses_message_id", feedback.ses_message_id)):
        row = value and sql.one(
            "SELECT r.id, r.address, r.address_key, r.status, a.attempt_id,"
            " (SELECT m.ulid FROM messages m WHERE m.id = r.message_id)"
            f" FROM attempts a JOIN recipients r ON r.id = a.recipient_id WHERE a.{column} = ?{sql.to_change}",
            (value,),
        )
        if row:
            recipient_id, address, key, status, attempt_id, ulid = row
            return _Match(recipient_id, address, key, Status(status), attempt_id, ulid)
    return None


def _insert_event(sql: Sql, notification_id: int, feedback: Feedback, match: _Match | None) -> bool:
    """False when the event is known: SES and SNS both repeat themselves."""
    return (
        sql.run(
            "INSERT INTO events (dedupe_key, notification_id, recipient_id, attempt_id, ses_message_id, kind,"
            " bounce_type, sub_type, complaint_type, address, address_key, diagnostic, status_code, occurred_at,"
            " stored_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (dedupe_key) DO NOTHING",
            (
                feedback.dedupe_key,
                notification_id,
                None if match is None else match.recipient_id,
                feedback.attempt_id,
                feedback.ses_message_id,
                feedback.kind.value,
                feedback.bounce_type and feedback.bounce_type.value,
                feedback.sub_type,
                feedback.complaint_type,
                feedback.address,
                feedback.address and address_key(feedback.address),
                feedback.diagnostic,
                feedback.status_code,
                to_micros(feedback.occurred_at),
                now_micros(),
            ),
        )
        > 0
    )


def _adopt_event(sql: Sql, feedback: Feedback, match: _Match | None) -> bool:
    """Whether a known event, whose mail could not be told when it was stored, has found its recipient now.

    SES may publish one bounce twice, without our attempt id and with it, and the first may have been given up on.
    """
    return match is not None and bool(
        sql.run(
            "UPDATE events SET recipient_id = ?, attempt_id = ? WHERE dedupe_key = ? AND recipient_id IS NULL",
            (match.recipient_id, match.attempt_id, feedback.dedupe_key),
        )
    )


def _suppress(sql: Sql, feedback: Feedback, match: _Match | None) -> None:
    """Blame the attempt's recipient: the reported address may be where the mail was forwarded to."""
    reason = rule(feedback).reason
    if reason is None:
        return
    if match is not None:
        address, key = match.address, match.address_key
    elif feedback.address is not None:
        address, key = feedback.address, address_key(feedback.address)
    else:
        return
    source = f"SES {feedback.kind}"
    suppress(sql, address, key, reason, source=source, detail=_explain(feedback), at=to_micros(feedback.occurred_at))


def _explain(feedback: Feedback) -> str:
    """What a person reads behind a status: the report in a few words, with the far server's own."""
    types = "/".join(filter(None, (feedback.bounce_type, feedback.sub_type, feedback.complaint_type)))
    return ": ".join(filter(None, (f"{feedback.kind} {types}".strip(), feedback.diagnostic)))
