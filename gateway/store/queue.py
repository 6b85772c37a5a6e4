"""The queue as an operator sees it: what waits, what stops it, and the pause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.lifecycle import BEFORE_SES
from gateway.store import control, depth
from gateway.store.audit import record
from gateway.store.db import Database
from gateway.store.depth import AccountSeen, Circuit, DispatcherState, HeldFor, Pace, StagingGuard
from gateway.store.sql import Sql, marks
from gateway.store.times import from_micros, now_micros, of_seconds, to_micros

_SUBJECT = "queue"


@dataclass(frozen=True, slots=True)
class Pause:
    """Sending is stopped by a person, or because the database came from a backup made at `backup_at`."""

    reason: str
    since: datetime
    actor: str
    backup_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """`recipients` is by status, of those that SES does not surely have. `outcomes` counts what was reached ever.

    `due` may be sent now; `next_retry_at` is when the first of the others may. `pace` and `account` are None while
    nobody knows them.
    """

    recipients: dict[str, int]
    oldest_accepted_at: datetime | None
    due: int
    oldest_due_at: datetime | None
    next_retry_at: datetime | None
    held_for: tuple[HeldFor, ...]
    pause: Pause | None
    circuit: Circuit | None
    pace: Pace | None
    account: AccountSeen | None
    dispatcher: DispatcherState
    unprocessed_notifications: int
    notifications_not_understood: int
    outcomes: dict[str, int]
    guard: StagingGuard | None


@dataclass(frozen=True, slots=True)
class Stops:
    """What keeps mail from being sent at this moment; `held` has credentials, and why each of them is held."""

    pause: Pause | None
    circuit: Circuit | None
    guard: StagingGuard | None
    held: dict[str, str]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The recipients in one status whose messages were accepted before the backup was made."""

    status: str
    recipients: int
    oldest_accepted_at: datetime
    newest_accepted_at: datetime
    last_changed_at: datetime


class Queue:
    """Looks at what waits for sending, and sets and lifts the pause that dispatcher and claims honour."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def status(self) -> QueueStatus:
        with self._db.read() as sql:
            due = depth.due(sql, now_micros())
            return QueueStatus(
                recipients=depth.unfinished(sql),
                oldest_accepted_at=depth.oldest_accepted_at(sql),
                due=due.recipients,
                oldest_due_at=due.oldest_at,
                next_retry_at=due.next_retry_at,
                held_for=depth.held_for(sql),
                pause=find_pause(sql),
                circuit=depth.circuit(sql),
                pace=depth.pace(sql),
                account=depth.account(sql),
                dispatcher=depth.dispatcher(sql),
                unprocessed_notifications=depth.unprocessed_notifications(sql),
                notifications_not_understood=depth.notifications_not_understood(sql),
                outcomes=depth.tallies(sql).get("outcomes", {}),
                guard=depth.staging_guard(sql),
            )

    def stops(self) -> Stops:
        with self._db.read() as sql:
            held = sql.all("SELECT name, held_reason FROM credentials WHERE held_at IS NOT NULL ORDER BY name")
            return Stops(
                pause=find_pause(sql),
                circuit=depth.circuit(sql),
                guard=depth.staging_guard(sql),
                held={name: reason or "" for name, reason in held},
            )

    def find_pause(self) -> Pause | None:
        with self._db.read() as sql:
            return find_pause(sql)

    def pause(self, reason: str, *, actor: str) -> Pause | None:
        """Stop sending, all of it. The pause that stands already, which is left as it is; None when there was none."""

        def work(sql: Sql) -> Pause | None:
            standing = find_pause(sql)
            if standing is None:
                put_pause(sql, Pause(reason, datetime.now(UTC), actor))
                record(sql, actor, "queue.pause", _SUBJECT, reason)
            return standing

        return self._db.write(work)

    def resume(self, *, actor: str) -> Pause | None:
        """Let sending go on; the pause that was lifted, None when there was none."""

        def work(sql: Sql) -> Pause | None:
            standing = find_pause(sql)
            if standing is not None:
                sql.run("DELETE FROM control WHERE key = ?", (control.PAUSE,))
                record(sql, actor, "queue.resume", _SUBJECT, f"was paused: {standing.reason}")
            return standing

        return self._db.write(work)

    # After a backup was restored

    def pause_restored(self, backup_at: datetime | None, *, actor: str) -> Pause:
        """Stop sending because this database came from a backup; the pause in force.

        Without `backup_at` it is taken from the last thing that happened in the database, so no program may run on it
        yet. A pause that says already when the backup was made stays as it is.
        """

        def work(sql: Sql) -> Pause:
            standing = find_pause(sql)
            if standing is not None and standing.backup_at is not None:
                return standing
            made_at = backup_at or _last_activity(sql)
            pause = Pause(restored_reason(made_at), datetime.now(UTC), actor, made_at)
            put_pause(sql, pause)
            was = f"; was paused: {standing.reason}" if standing else ""
            record(sql, actor, "queue.restored", _SUBJECT, pause.reason + was)
            return pause

        return self._db.write(work)

    def waiting_since_backup(self, backup_at: datetime) -> list[Waiting]:
        """What had not ended when the backup was made: part of it may have been sent afterwards."""
        statuses = [status.value for status in BEFORE_SES]
        with self._db.read() as sql:
            rows = sql.all(
                "SELECT r.status, count(*), min(m.accepted_at), max(m.accepted_at), max(r.changed_at)"
                " FROM recipients r JOIN messages m ON m.id = r.message_id"
                f" WHERE r.status IN ({marks(statuses)}) AND m.accepted_at <= ? GROUP BY r.status ORDER BY r.status",
                (*statuses, to_micros(backup_at)),
            )
        return [
            Waiting(status, count, from_micros(oldest), from_micros(newest), from_micros(changed))
            for status, count, oldest, newest, changed in rows
        ]


def restored_reason(backup_at: datetime) -> str:
    return f"restored from a backup made at {backup_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def find_pause(sql: Sql) -> Pause | None:
    """For use inside a transaction; None when nobody has paused sending, or the time of a pause is over."""
    fact = control.get(sql, control.PAUSE) if depth.is_paused(sql, now_micros()) else None
    if fact is None:
        return None
    return Pause(
        reason=str(fact.get("reason") or "no reason was given"),
        since=of_seconds(fact.get("at")) or datetime.now(UTC),
        actor=str(fact.get("actor", "")),
        backup_at=of_seconds(fact.get("backup_at")),
    )


def put_pause(sql: Sql, pause: Pause) -> None:
    fact: dict[str, Any] = {"reason": pause.reason, "at": pause.since.timestamp(), "actor": pause.actor}
    if pause.backup_at is not None:
        fact["backup_at"] = pause.backup_at.timestamp()
    control.put(sql, control.PAUSE, fact)


def _last_activity(sql: Sql) -> datetime:
    """A dispatcher beats every second into `control`, so this is the moment of the backup if workers ran then."""
    moments = [
        sql.value(f"SELECT max({column}) FROM {table}")
        for table, column in (
            ("control", "changed_at"),
            ("messages", "accepted_at"),
            ("recipients", "changed_at"),
            ("notifications", "received_at"),
            ("audit", "at"),
        )
    ]
    return from_micros(max((moment for moment in moments if moment is not None), default=now_micros()))
