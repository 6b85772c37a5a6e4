"""All that is known of the mail to one address: what was accepted, tried and reported, and what was done by hand.

It is asked by a person who waits, also of an address that is mailed all day. So only the newest is read, by index, and
how much there is besides is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.feedback import BounceType, EventKind
from gateway.lifecycle import BEFORE_SES, Status
from gateway.store.by_address import to_address
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.mentions import Mentions
from gateway.store.messages import AttemptRecord
from gateway.store.sql import Row, Sql, marks
from gateway.store.times import from_micros

# Rows that are looked through where no index tells the right ones from the others.
_LOOKED_AT = 10_000
_ACTS = ("messages.retry", "messages.cancel")


@dataclass(frozen=True, slots=True)
class EventSeen:
    """A report of SES. `sent_to` and `message` are the mail that it is about; None when that is not known here."""

    kind: EventKind
    bounce_type: BounceType | None
    sub_type: str | None
    complaint_type: str | None
    reported_address: str | None
    diagnostic: str | None
    occurred_at: datetime
    ses_message_id: str
    sent_to: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class MailTo:
    """One mail to the address, as far as it came. `next_attempt_at` is told only of what is QUEUED."""

    message: str
    accepted_at: datetime
    credential: str
    header_from: str
    subject: str
    client_address: str
    address: str
    status: Status
    reason: str
    changed_at: datetime
    expires_at: datetime
    next_attempt_at: datetime | None
    attempts: tuple[AttemptRecord, ...]
    events: tuple[EventSeen, ...]


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator did to mail of this address, as the audit has it."""

    at: datetime
    actor: str
    action: str
    detail: str


@dataclass(frozen=True, slots=True)
class History:
    """The newest mails, and those that still wait, oldest first; `older` counts the others.

    `events` are reports about the address on mail that was not sent to it from here, the newest of them.
    """

    mails: tuple[MailTo, ...]
    older: int
    events: tuple[EventSeen, ...]
    acts: tuple[Act, ...]

    @property
    def waiting(self) -> tuple[MailTo, ...]:
        return tuple(mail for mail in self.mails if mail.status in BEFORE_SES)


class Histories:
    """Looks an address up."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, address_key: str, *, limit: int, credential: str | None = None) -> History:
        """StoreError when there is no such credential."""
        with self._db.read() as sql:
            credential_id = None if credential is None else _credential_id(sql, credential)
            ids, older = _choose(sql, address_key, limit, credential_id)
            mails = _mails(sql, ids)
            return History(
                mails=mails,
                older=older,
                events=_events_elsewhere(sql, address_key, limit),
                acts=_acts(sql, address_key, [mail.message for mail in mails]),
            )


def _credential_id(sql: Sql, name: str) -> int:
    found: int | None = sql.value("SELECT id FROM credentials WHERE name = ?", (name,))
    if found is None:
        raise StoreError(f"There is no credential {name}.")
    return found


# Mails

_OF_ADDRESS = to_address("recipients")


def _choose(sql: Sql, key: str, limit: int, credential_id: int | None) -> tuple[list[int], int]:
    """The recipients to be shown, and how many others there are: the newest, and of those that wait the first."""
    condition, values = ("", ()) if credential_id is None else (" AND credential_id = ?", (credential_id,))
    rows = sql.all(
        f"SELECT id, status FROM recipients WHERE {_OF_ADDRESS}{condition} ORDER BY id DESC LIMIT ?",
        (key, *values, _LOOKED_AT),
    )
    waiting = [row[0] for row in reversed(rows) if row[1] in BEFORE_SES]
    chosen = sorted({row[0] for row in rows[:limit]} | set(waiting[:limit]))
    total = len(rows)
    if total == _LOOKED_AT:
        total = int(sql.value(f"SELECT count(*) FROM recipients WHERE {_OF_ADDRESS}{condition}", (key, *values)))
    return chosen, total - len(chosen)


def _mails(sql: Sql, ids: Sequence[int]) -> tuple[MailTo, ...]:
    if not ids:
        return ()
    attempts, events = _grouped(_attempts(sql, ids)), _grouped(_events(sql, ids))
    rows = sql.all(
        "SELECT r.id, m.ulid, m.accepted_at, c.name, m.header_from, m.subject, m.client_address, r.address, r.status,"
        " r.reason, r.changed_at, r.expires_at, r.next_attempt_at FROM recipients r"
        " JOIN messages m ON m.id = r.message_id JOIN credentials c ON c.id = r.credential_id"
        f" WHERE r.id IN ({marks(ids)}) ORDER BY r.id",
        ids,
    )
    return tuple(
        _mail(row, [_attempt(one) for one in attempts.get(row[0], [])], [_event(one) for one in events.get(row[0], [])])
        for row in rows
    )


def _mail(row: Row, attempts: Iterable[AttemptRecord], events: Iterable[EventSeen]) -> MailTo:
    return MailTo(
        message=row[1],
        accepted_at=from_micros(row[2]),
        credential=row[3],
        header_from=row[4],
        subject=row[5],
        client_address=row[6],
        address=row[7],
        status=Status(row[8]),
        reason=row[9],
        changed_at=from_micros(row[10]),
        expires_at=from_micros(row[11]),
        next_attempt_at=from_micros(row[12]) if row[8] == Status.QUEUED else None,
        attempts=tuple(attempts),
        events=tuple(events),
    )


def _attempts(sql: Sql, ids: Sequence[int]) -> list[Row]:
    return sql.all(
        "SELECT a.recipient_id, a.attempt_id, r.address, a.started_at, a.finished_at, a.outcome, a.detail,"
        " a.ses_message_id FROM attempts a JOIN recipients r ON r.id = a.recipient_id"
        f" WHERE a.recipient_id IN ({marks(ids)}) ORDER BY a.started_at, a.id",
        ids,
    )


def _attempt(row: Row) -> AttemptRecord:
    return AttemptRecord(
        attempt_id=row[0],
        address=row[1],
        started_at=from_micros(row[2]),
        finished_at=None if row[3] is None else from_micros(row[3]),
        outcome=row[4],
        detail=row[5],
        ses_message_id=row[6],
    )


def _grouped(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    """Rows without their first column, by it."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row[1:])
    return found


# Events

_OF_EVENT = "kind, bounce_type, sub_type, complaint_type, e.address, diagnostic, occurred_at, ses_message_id"


def _events(sql: Sql, ids: Sequence[int]) -> list[Row]:
    return sql.all(
        f"SELECT e.recipient_id, {_OF_EVENT}, r.address, m.ulid FROM events e"
        " JOIN recipients r ON r.id = e.recipient_id"
        " JOIN messages m ON m.id = r.message_id"
        f" WHERE e.recipient_id IN ({marks(ids)}) ORDER BY e.occurred_at, e.id",
        ids,
    )


def _events_elsewhere(sql: Sql, key: str, limit: int) -> tuple[EventSeen, ...]:
    """Oldest first: on mail that others sent, and on mail to somebody else that was forwarded to this address."""
    rows = sql.all(
        "SELECT later.*, r.address, m.ulid FROM ("
        f"SELECT {_OF_EVENT}, e.recipient_id, e.id FROM events e WHERE {to_address('events', 'e.')}"
        " ORDER BY e.id DESC LIMIT ?"
        ") later LEFT JOIN recipients r ON r.id = later.recipient_id LEFT JOIN messages m ON m.id = r.message_id"
        " WHERE r.id IS NULL OR r.address_key <> ? ORDER BY later.id DESC LIMIT ?",
        (key, _LOOKED_AT, key, limit),
    )
    return tuple(_event((*row[:8], *row[-2:])) for row in reversed(rows))


def _event(row: Row) -> EventSeen:
    return EventSeen(
        kind=EventKind(row[0]),
        bounce_type=None if row[1] is None else BounceType(row[1]),
        sub_type=row[2],
        complaint_type=row[3],
        reported_address=row[4],
        diagnostic=row[5],
        occurred_at=from_micros(row[6]),
        ses_message_id=row[7],
        sent_to=row[8],
        message=row[9],
    )


# Acts


def _acts(sql: Sql, key: str, messages: Sequence[str]) -> tuple[Act, ...]:
    """Oldest first: those that name the address or one of the messages. Those by other filters name neither."""
    rows = sql.all(
        "SELECT at, actor, action, detail FROM (SELECT id, at, actor, action, detail FROM audit WHERE id > 0"
        f" ORDER BY id DESC LIMIT ?) later WHERE action IN ({marks(_ACTS)}) ORDER BY id",
        (_LOOKED_AT, *_ACTS),
    )
    mentions = Mentions(key)
    return tuple(
        Act(from_micros(at), actor, action, detail)
        for at, actor, action, detail in rows
        if mentions.stand_in(detail) or any(message in detail for message in messages)
    )
