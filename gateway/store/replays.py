"""What SNS delivered, for people: to look at, and to have processed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from gateway.store.audit import record
from gateway.store.db import Database
from gateway.store.sql import Row, Sql, marks
from gateway.store.strikes import explain
from gateway.store.times import from_micros, now_micros, span, to_micros


@dataclass(frozen=True, slots=True)
class Stored:
    """A notification, for a person. Without `next_attempt_at` nothing more is done by itself.

    `error` says why it is not processed (yet); `is_kept` whether its text is still there.
    """

    id: int
    sns_message_id: str
    topic_arn: str
    sent_at: datetime
    received_at: datetime
    processed_at: datetime | None
    next_attempt_at: datetime | None
    error: str
    is_kept: bool

    @property
    def state(self) -> str:
        if self.processed_at is not None:
            return "processed"
        return "waiting" if self.next_attempt_at is not None else "not understood"


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """What was read in a notification: one report about one recipient."""

    kind: str
    occurred_at: datetime
    recipient: str | None
    detail: str
    message_ulid: str | None


@dataclass(frozen=True, slots=True)
class Detail:
    """A notification with its text, which is None once it is no longer kept.

    An event that another notification had told before is listed there.
    """

    stored: Stored
    message: str | None
    events: tuple[FoundEvent, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of some notifications are processed, are not understood, and wait."""

    processed: int = 0
    not_understood: int = 0
    waiting: int = 0

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            self.processed + other.processed, self.not_understood + other.not_understood, self.waiting + other.waiting
        )


class Replays:
    """Looks at stored notifications and sets them about again. The workers do the rest."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(
        self, *, limit: int = 50, before: int | None = None, not_understood: bool = False, day: date | None = None
    ) -> list[Stored]:
        """What SNS delivered, the newest first: all, what is not understood, or what came on a day (UTC)."""
        conditions, values = _conditions(not_understood=not_understood, day=day)
        if before is not None:
            conditions.append("id < ?")
            values.append(before)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._db.read() as sql:
            rows = sql.all(f"SELECT {_STORED} FROM notifications{where} ORDER BY id DESC LIMIT ?", (*values, limit))
        return [_stored(row) for row in rows]

    def show(self, id_or_sns_message_id: str) -> Detail | None:
        """A notification as it came, and the events that were read in it; None when there is none."""
        with self._db.read() as sql:
            condition = "sns_message_id = ?"
            row = sql.one(f"SELECT {_STORED}, message FROM notifications WHERE {condition}", (id_or_sns_message_id,))
            if row is None and _is_id(id_or_sns_message_id):
                number = int(id_or_sns_message_id)
                row = sql.one(f"SELECT {_STORED}, message FROM notifications WHERE id = ?", (number,))
            if row is None:
                return None
            stored = _stored(row[:-1])
            events = sql.all(f"{_EVENTS} WHERE e.notification_id = ? ORDER BY e.id", (stored.id,))
        return Detail(stored, row[-1], tuple(_found_event(event) for event in events))

    def find(self, *, not_understood: bool = False, day: date | None = None) -> Sequence[int]:
        """The ids of what can be processed again, in the order in which it came."""
        conditions, values = _conditions(not_understood=not_understood, day=day)
        if not not_understood:
            conditions.append("message IS NOT NULL AND next_attempt_at IS NULL")
        with self._db.read() as sql:
            rows = sql.all(f"SELECT id FROM notifications WHERE {' AND '.join(conditions)} ORDER BY id", values)
        return [row[0] for row in rows]

    def replay(self, ids: Sequence[int], *, actor: str) -> Iterator[int]:
        """Have them processed again; how many were set about, batch by batch.

        Left out is what waits to be processed anyway, and what is no longer kept. Each batch is a small transaction,
        so that the SMTP front, which writes between two of them, does not wait.
        """
        if ids:
            self._db.write(lambda sql: record(sql, actor, "feedback.replay", _spoken(ids), f"{len(ids)} notifications"))
        for some in _batches(ids):
            yield self._db.write(partial(_set_about, ids=some))

    def progress(self, ids: Sequence[int]) -> Progress:
        """How far these are."""
        found = Progress()
        with self._db.read() as sql:
            for some in _batches(ids):
                row = sql.one(f"{_PROGRESS} WHERE id IN ({marks(some)})", some)
                assert row is not None  # noqa: S101  an aggregate has one
                found += Progress(*(int(value or 0) for value in row))
        return found


# What a statement binds at once, and what is done between two others' writes.
BATCH = 500

_STORED = (
    "id, sns_message_id, topic_arn, sent_at, received_at, processed_at, next_attempt_at, error, message IS NOT NULL"
)
_EVENTS = (
    "SELECT e.kind, e.occurred_at, COALESCE(r.address, e.address), e.bounce_type, e.sub_type, e.complaint_type,"
    " e.diagnostic, (SELECT m.ulid FROM messages m WHERE m.id = r.message_id)"
    " FROM events e LEFT JOIN recipients r ON r.id = e.recipient_id"
)
_PROGRESS = (
    "SELECT sum(CASE WHEN processed_at IS NOT NULL THEN 1 ELSE 0 END),"
    " sum(CASE WHEN processed_at IS NULL AND next_attempt_at IS NULL THEN 1 ELSE 0 END),"
    " sum(CASE WHEN processed_at IS NULL AND next_attempt_at IS NOT NULL THEN 1 ELSE 0 END) FROM notifications"
)


def _conditions(*, not_understood: bool, day: date | None) -> tuple[list[str], list[object]]:
    """As the indexes spell them."""
    conditions: list[str] = []
    values: list[object] = []
    if not_understood:
        conditions.append("processed_at IS NULL AND next_attempt_at IS NULL AND message IS NOT NULL")
    if day is not None:
        begin = to_micros(datetime.combine(day, time(), UTC))
        conditions.append("received_at >= ? AND received_at < ?")
        values += [begin, begin + span(timedelta(days=1))]
    return conditions, values


def _set_about(sql: Sql, ids: Sequence[int]) -> int:
    return sql.run(
        "UPDATE notifications SET processed_at = NULL, next_attempt_at = ?, dispatched_until = NULL, error = ''"
        f" WHERE id IN ({marks(ids)}) AND next_attempt_at IS NULL AND message IS NOT NULL",
        (now_micros(), *ids),
    )


def _spoken(ids: Sequence[int]) -> str:
    return str(ids[0]) if len(ids) == 1 else f"{min(ids)} to {max(ids)}"


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[begin : begin + BATCH] for begin in range(0, len(ids), BATCH))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID


_LONGEST_ID = 18  # digits that surely fit into a BIGINT


def _stored(row: Row) -> Stored:
    id_, sns_message_id, topic_arn, sent_at, received_at, processed_at, next_attempt_at, error, is_kept = row
    return Stored(
        id=id_,
        sns_message_id=sns_message_id,
        topic_arn=topic_arn,
        sent_at=from_micros(sent_at),
        received_at=from_micros(received_at),
        processed_at=None if processed_at is None else from_micros(processed_at),
        next_attempt_at=None if next_attempt_at is None else from_micros(next_attempt_at),
        error=error,
        is_kept=bool(is_kept),
    )


def _found_event(row: Row) -> FoundEvent:
    kind, occurred_at, address, bounce_type, sub_type, complaint_type, diagnostic, ulid = row
    explained = explain(kind, (bounce_type, sub_type, complaint_type), diagnostic)
    return FoundEvent(kind, from_micros(occurred_at), address, explained, ulid)
