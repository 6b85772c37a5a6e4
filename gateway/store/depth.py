"""How deep the queue is and what the sending stands on: for people and monitors.

All of it is answered by an index or by small rows, so that it may be asked every few seconds, whatever the database
holds. Each function reads inside a transaction of the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.lifecycle import Status
from gateway.store import control
from gateway.store.sql import Sql
from gateway.store.statuses import UNFINISHED, in_status
from gateway.store.times import from_micros, of_seconds

_REASONS = 10


@dataclass(frozen=True, slots=True)
class Circuit:
    """Sending is stopped because SES refuses it; from `probe_at` on one mail at a time tries again.

    `kind` is `account` (nothing goes until somebody acts) or `quota` (the quota of 24 hours is used up).
    """

    kind: str
    reason: str
    since: datetime
    probe_at: datetime | None

    @property
    def what(self) -> str:
        """What SES says by it, as a person says it."""
        return "the quota of 24 hours is used up" if self.kind == "quota" else "SES refuses everything"


@dataclass(frozen=True, slots=True)
class DispatcherState:
    """The holder of the lease, empty after a clean stop, and when it last showed that it moves."""

    holder: str
    epoch: int
    beat: int
    last_beat_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pace:
    """Recipients a second that are sent now, and the part of the account's rate that SES's answers leave of it."""

    rate: float
    factor: float


@dataclass(frozen=True, slots=True)
class AccountSeen:
    """What GetAccount told last. Quotas are recipients in 24 hours; -1 is no limit."""

    max_send_rate: float
    max_24_hour_send: float
    sent_last_24_hours: float
    sending_enabled: bool
    production_access: bool
    enforcement_status: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class StagingGuard:
    """What the guard of the workers keeps, `everything` or what goes `outside`, and a sentence about it."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class HeldFor:
    """Recipients that are HELD for the same reason."""

    reason: str
    recipients: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """What may be sent now, and since when the first of it; what belongs to a held credential is not due."""

    recipients: int
    oldest_at: datetime | None
    next_retry_at: datetime | None


def unfinished(sql: Sql) -> dict[str, int]:
    """Recipients that SES does not surely have, by status; every such status is named."""
    counts = {status.value: 0 for status in (Status.QUEUED, Status.SENDING, Status.AMBIGUOUS, Status.HELD)}
    for status, count in sql.all(
        f"SELECT status, count(*) FROM recipients WHERE status IN ({UNFINISHED}) GROUP BY status"
    ):
        counts[status] = int(count)
    counts[Status.SENDING.value] = int(sql.value(f"SELECT count(*) FROM recipients WHERE {in_status(Status.SENDING)}"))
    return counts


def oldest_accepted_at(sql: Sql) -> datetime | None:
    """When the mail was accepted that has waited longest; None when nothing waits.

    Of each status the one that expires first is looked at. What an operator sent again after its end begins anew.
    """
    moments = [
        sql.value(
            "SELECT m.accepted_at FROM messages m WHERE m.id = (SELECT r.message_id FROM recipients r"
            f" WHERE {in_status(status)} ORDER BY r.expires_at LIMIT 1)",
        )
        for status in (Status.QUEUED, Status.AMBIGUOUS, Status.HELD)
    ]
    return _moment(min((moment for moment in moments if moment is not None), default=None))


def due(sql: Sql, now: int) -> Due:
    """Counts every row that is due: for a person, not for what asks every few seconds."""
    count, retries = 0, []
    for credential_id in _sending(sql):
        count += int(sql.value(f"SELECT count(*) {_QUEUED} <= ?", (credential_id, now)))
        retries.append(sql.value(f"SELECT min(next_attempt_at) {_QUEUED} > ?", (credential_id, now)))
    return Due(count, oldest_due_at(sql, now), _first(retries))


def oldest_due_at(sql: Sql, now: int) -> datetime | None:
    """Since when the first of those that may be sent now may be sent."""
    return _first(
        [sql.value(f"SELECT min(next_attempt_at) {_QUEUED} <= ?", (credential, now)) for credential in _sending(sql)]
    )


def _sending(sql: Sql) -> list[int]:
    """Credentials whose mail may go out, one by one, for so the index goes."""
    return [row[0] for row in sql.all("SELECT id FROM credentials WHERE held_at IS NULL")]


_QUEUED = f"FROM recipients WHERE status = '{Status.QUEUED}' AND credential_id = ? AND next_attempt_at"


def held_for(sql: Sql) -> tuple[HeldFor, ...]:
    """Why recipients are HELD: the most frequent reasons, and the others under one name."""
    rows = sql.all(
        "SELECT reason, count(*), min(changed_at) FROM recipients"
        f" WHERE {in_status(Status.HELD)} GROUP BY reason ORDER BY 2 DESC, 1"
    )
    found = [HeldFor(reason, int(count), from_micros(oldest)) for reason, count, oldest in rows]
    if len(found) <= _REASONS:
        return tuple(found)
    others = found[_REASONS - 1 :]
    rest = HeldFor(
        f"{len(others)} other reasons", sum(one.recipients for one in others), min(one.oldest_at for one in others)
    )
    return (*found[: _REASONS - 1], rest)


def tallies(sql: Sql) -> dict[str, dict[str, int]]:
    """Every counter, by its name and label."""
    found: dict[str, dict[str, int]] = {}
    for name, label, count in sql.all("SELECT name, label, count FROM tallies"):
        found.setdefault(name, {})[label] = int(count)
    return found


def unprocessed_notifications(sql: Sql) -> int:
    """Stored reports that are still to be understood."""
    return int(
        sql.value(
            "SELECT count(*) FROM notifications WHERE processed_at IS NULL AND next_attempt_at IS NOT NULL"
            " AND next_attempt_at > 0"
        )
    )


def notifications_not_understood(sql: Sql) -> int:
    """Stored reports of an unknown kind."""
    return int(
        sql.value(
            "SELECT count(*) FROM notifications WHERE processed_at IS NULL AND next_attempt_at IS NULL"
            " AND message IS NOT NULL AND id > 0"
        )
    )


def circuit(sql: Sql) -> Circuit | None:
    """Also while it is half-open: it stays until one mail has shown that SES takes mail again."""
    row = sql.one("SELECT until, changed_at FROM control WHERE key = ?", (control.CIRCUIT,))
    if row is None:
        return None
    fact = control.get(sql, control.CIRCUIT) or {}
    return Circuit(
        kind=str(fact.get("kind") or "account"),
        reason=str(fact.get("reason", "")),
        since=of_seconds(fact.get("since")) or from_micros(row[1]),
        probe_at=_moment(row[0]),
    )


def is_paused(sql: Sql, now: int) -> bool:
    statement = "SELECT 1 FROM control WHERE key = ? AND (until IS NULL OR until > ?)"
    return sql.value(statement, (control.PAUSE, now)) is not None


def staging_guard(sql: Sql) -> StagingGuard | None:
    """None while the workers send to everybody."""
    fact = control.get(sql, control.GUARD)
    return None if fact is None else StagingGuard(str(fact.get("kind", "")), str(fact.get("reason", "")))


def dispatcher(sql: Sql) -> DispatcherState:
    lease = control.read_lease(sql)
    changed = sql.value("SELECT changed_at FROM control WHERE key = ?", (control.LEASE,))
    return DispatcherState(lease.holder, lease.epoch, lease.beat, _moment(changed))


def pace(sql: Sql) -> Pace | None:
    """None before a dispatcher has ever worked."""
    fact = control.get(sql, control.PACE)
    return None if fact is None else Pace(float(fact["rate"]), float(fact["factor"]))


def account(sql: Sql) -> AccountSeen | None:
    """None when SES has never answered."""
    fact = control.get(sql, control.ACCOUNT)
    changed = sql.value("SELECT changed_at FROM control WHERE key = ?", (control.ACCOUNT,))
    if fact is None:
        return None
    return AccountSeen(
        max_send_rate=float(fact.get("max_send_rate", 1.0)),
        max_24_hour_send=float(fact.get("max_24_hour_send", -1.0)),
        sent_last_24_hours=float(fact.get("sent_last_24_hours", 0.0)),
        sending_enabled=bool(fact.get("sending_enabled", True)),
        production_access=bool(fact.get("production_access", False)),
        enforcement_status=str(fact.get("enforcement_status", "")),
        asked_at=from_micros(changed),
    )


def _first(moments: list[int | None]) -> datetime | None:
    return _moment(min((moment for moment in moments if moment is not None), default=None))


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
