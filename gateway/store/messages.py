"""The store of messages: accepting them, and looking at them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.addresses import address_key
from gateway.content import ContentFacts
from gateway.credentials import Caps
from gateway.envelope import Envelope, Origin
from gateway.lifecycle import Status
from gateway.store.accepting import Accepting, Submission
from gateway.store.by_address import to_address
from gateway.store.db import Database
from gateway.store.sql import Row, Sql, marks
from gateway.store.times import from_micros, now_micros, span
from gateway.store.ulids import new_ulid


@dataclass(frozen=True, slots=True)
class RecipientSummary:
    address: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """A message as a list shows it. `reverse_path` is None for the null reverse-path."""

    ulid: str
    accepted_at: datetime
    credential: str
    reverse_path: str | None
    subject: str
    size: int
    recipients: tuple[RecipientSummary, ...]


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    attempt_id: str
    address: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    detail: str
    ses_message_id: str | None


@dataclass(frozen=True, slots=True)
class EventRecord:
    kind: str
    sub_kind: str
    recipient: str | None
    reported_address: str | None
    diagnostic: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RecipientRecord:
    id: int
    address: str
    status: Status
    reason: str
    attempts: int
    next_attempt_at: datetime | None
    expires_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class MessageDetail:
    """All that is known about one message, in the order of time."""

    summary: MessageSummary
    origin: Origin
    header_from: str
    header_message_id: str | None
    has_content: bool
    recipients: tuple[RecipientRecord, ...]
    attempts: tuple[AttemptRecord, ...]
    events: tuple[EventRecord, ...]


class Messages:
    """Accepted mail transactions."""

    def __init__(
        self, db: Database, max_age: timedelta, captured: Callable[[str], str | None] = lambda _address: None
    ) -> None:
        """`captured`: why the staging guard keeps mail to an address; None when it does not."""
        self._db = db
        self._accepting = Accepting(captured)
        self._max_age = span(max_age)

    def submit(self, envelope: Envelope, facts: ContentFacts, caps: Caps | None = None) -> Future[str]:
        """Store an accepted transaction; the future gives its ULID after the commit, and only then may 250 be said.

        StoreUnavailableError in the future, and a `cancel()` that answers True: surely nothing was kept. The same for
        OverCapError, when the recipients are more than the `caps` have room for, and for NotEnabledError, when the
        credential was disabled or removed in the meantime.
        """
        accepted_at = now_micros()
        submission = Submission(new_ulid(), envelope, facts, caps, accepted_at, accepted_at + self._max_age)
        return self._db.submit_to(self._accepting.store, submission)

    def list(
        self, *, limit: int = 50, status: Status | None = None, address: str | None = None, before: str | None = None
    ) -> list[MessageSummary]:
        """The newest messages first; only those with a recipient of that status or address, or older than `before`."""
        conditions, values = _conditions(status, address, before)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._db.read() as sql:
            rows = sql.all(f"{_SELECT_MESSAGE}{where} ORDER BY m.ulid DESC LIMIT ?", (*values, limit))
            return _summaries(sql, rows)

    def show(self, ulid: str) -> MessageDetail | None:
        """Everything about one message; None when there is none with that ULID."""
        with self._db.read() as sql:
            row = sql.one(f"{_SELECT_MESSAGE} WHERE m.ulid = ?", (ulid.upper(),))
            return None if row is None else _detail(sql, row)


_SELECT_MESSAGE = (
    "SELECT m.id, m.ulid, m.accepted_at, c.name, m.reverse_path, m.subject, m.size, m.client_address, m.helo,"
    " m.protocol, m.header_from, m.header_message_id FROM messages m JOIN credentials c ON c.id = m.credential_id"
)


def _conditions(status: Status | None, address: str | None, before: str | None) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if status is not None:
        conditions.append("EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id AND r.status = ?)")
        values.append(status.value)
    if address is not None:
        conditions.append(f"m.id IN (SELECT r.message_id FROM recipients r WHERE {to_address('recipients', 'r.')})")
        values.append(address_key(address))
    if before is not None:
        conditions.append("m.ulid < ?")
        values.append(before.upper())
    return conditions, values


def _summaries(sql: Sql, rows: list[Row]) -> list[MessageSummary]:
    ids = [row[0] for row in rows]
    recipients: dict[int, list[RecipientSummary]] = {message_id: [] for message_id in ids}
    if ids:
        for message_id, address, status, reason in sql.all(
            "SELECT message_id, address, status, reason FROM recipients"
            f" WHERE message_id IN ({marks(ids)}) ORDER BY id",
            ids,
        ):
            recipients[message_id].append(RecipientSummary(address, Status(status), reason))
    return [_summary(row, recipients[row[0]]) for row in rows]


def _summary(row: Row, recipients: list[RecipientSummary]) -> MessageSummary:
    return MessageSummary(
        ulid=row[1],
        accepted_at=from_micros(row[2]),
        credential=row[3],
        reverse_path=row[4],
        subject=row[5],
        size=row[6],
        recipients=tuple(recipients),
    )


def _detail(sql: Sql, row: Row) -> MessageDetail:
    message_id = row[0]
    return MessageDetail(
        summary=_summaries(sql, [row])[0],
        origin=Origin(credential=row[3], client_address=row[7], helo=row[8], protocol=row[9]),
        header_from=row[10],
        header_message_id=row[11],
        has_content=sql.value("SELECT 1 FROM contents WHERE message_id = ?", (message_id,)) is not None,
        recipients=_recipients(sql, message_id),
        attempts=_attempts(sql, message_id),
        events=_events(sql, message_id),
    )


def _recipients(sql: Sql, message_id: int) -> tuple[RecipientRecord, ...]:
    rows = sql.all(
        "SELECT id, address, status, reason, attempts, next_attempt_at, expires_at, changed_at"
        " FROM recipients WHERE message_id = ? ORDER BY id",
        (message_id,),
    )
    return tuple(
        RecipientRecord(
            id=row[0],
            address=row[1],
            status=Status(row[2]),
            reason=row[3],
            attempts=row[4],
            next_attempt_at=from_micros(row[5]) if row[2] == Status.QUEUED else None,
            expires_at=from_micros(row[6]),
            changed_at=from_micros(row[7]),
        )
        for row in rows
    )


def _attempts(sql: Sql, message_id: int) -> tuple[AttemptRecord, ...]:
    rows = sql.all(
        "SELECT a.attempt_id, r.address, a.started_at, a.finished_at, a.outcome, a.detail, a.ses_message_id"
        " FROM attempts a JOIN recipients r ON r.id = a.recipient_id WHERE r.message_id = ?"
        " ORDER BY a.started_at, a.id",
        (message_id,),
    )
    return tuple(
        AttemptRecord(
            attempt_id=row[0],
            address=row[1],
            started_at=from_micros(row[2]),
            finished_at=None if row[3] is None else from_micros(row[3]),
            outcome=row[4],
            detail=row[5],
            ses_message_id=row[6],
        )
        for row in rows
    )


def _events(sql: Sql, message_id: int) -> tuple[EventRecord, ...]:
    rows = sql.all(
        "SELECT e.kind, e.bounce_type, e.sub_type, e.complaint_type, r.address, e.address, e.diagnostic, e.occurred_at"
        " FROM events e JOIN recipients r ON r.id = e.recipient_id WHERE r.message_id = ? ORDER BY e.occurred_at, e.id",
        (message_id,),
    )
    return tuple(
        EventRecord(
            kind=row[0],
            sub_kind="/".join(filter(None, row[1:4])),
            recipient=row[4],
            reported_address=row[5],
            diagnostic=row[6],
            occurred_at=from_micros(row[7]),
        )
        for row in rows
    )
