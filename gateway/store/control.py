"""The control store: what one program learns and another needs, and the dispatcher's lease."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gateway.store.db import Database
from gateway.store.sql import Sql
from gateway.store.times import now_micros, span

PAUSE = "pause"
CIRCUIT = "circuit"
ACCOUNT = "account"
THROTTLE = "throttle"
PACE = "pace"
TOPICS = "topics"
FEEDBACK_QUEUE = "feedback-queue"  # whether the SQS consumer reads, since when, and why not
IDENTITIES = "identities"
IDENTITY_REFUSED = "identity-refused"
GUARD = "guard"
HEARD = "heard"  # what the webhook and the queue's consumer saw last
RETENTION = "retention"
LEASE = "dispatcher"

# A claim succeeds only while no row matches this; bind the present moment to it.
STOPPED = f"SELECT 1 FROM control WHERE key IN ('{PAUSE}', '{CIRCUIT}') AND (until IS NULL OR until > ?)"


@dataclass(frozen=True, slots=True)
class Lease:
    """The dispatcher's lease as it was read. `holder` is empty after a clean stop."""

    holder: str
    epoch: int
    beat: int


class LeaseLostError(Exception):
    """Another dispatcher has taken over: whatever the transaction was to do, it did not."""


class Control:
    """Small facts by key, each a JSON object."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, key: str) -> dict[str, Any] | None:
        with self._db.read() as sql:
            return get(sql, key)

    def put(self, key: str, value: dict[str, Any], *, lasting: timedelta | None = None) -> None:
        """Set a fact; with `lasting` it stops a claim only that long (see STOPPED)."""
        self._db.write(lambda sql: put(sql, key, value, lasting=lasting))

    def remove(self, key: str) -> bool:
        return self._db.write(lambda sql: sql.run("DELETE FROM control WHERE key = ?", (key,)) > 0)

    def half_open(self, kind: str) -> bool:
        """Let one mail try now whether SES takes mail again; False when no circuit of that kind is shut for now."""

        def work(sql: Sql) -> bool:
            now = now_micros()
            fact = get(sql, CIRCUIT)
            if fact is None or fact.get("kind") != kind:
                return False
            return sql.run("UPDATE control SET until = ? WHERE key = ? AND until > ?", (now, CIRCUIT, now)) > 0

        return self._db.write(work)

    def read_lease(self) -> Lease:
        with self._db.read() as sql:
            return read_lease(sql)

    def take_lease(self, holder: str, seen: Lease) -> Lease | None:
        """Take the lease over if nothing about it changed since it was `seen`; None when something did."""

        def work(sql: Sql) -> Lease | None:
            put_once = "INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES (?, '{}', '', 0, 0, ?)"
            sql.run(f"{put_once} ON CONFLICT (key) DO NOTHING", (LEASE, now_micros()))
            taken = sql.run(
                "UPDATE control SET holder = ?, epoch = epoch + 1, beat = 0, changed_at = ?"
                " WHERE key = ? AND epoch = ? AND beat = ?",
                (holder, now_micros(), LEASE, seen.epoch, seen.beat),
            )
            return Lease(holder, seen.epoch + 1, 0) if taken else None

        return self._db.write(work)

    def beat(self, lease: Lease) -> bool:
        """Show that the holder's loop moves; False when the lease is held by another."""
        return self._db.write(
            lambda sql: (
                sql.run(
                    "UPDATE control SET beat = beat + 1, changed_at = ? WHERE key = ? AND epoch = ? AND holder = ?",
                    (now_micros(), LEASE, lease.epoch, lease.holder),
                )
                > 0
            )
        )

    def clear_lease(self, lease: Lease) -> None:
        """Give the lease back at a clean stop, so that a standby need not wait for it to lapse."""
        self._db.write(
            lambda sql: sql.run(
                "UPDATE control SET holder = '', beat = beat + 1, changed_at = ?"
                " WHERE key = ? AND epoch = ? AND holder = ?",
                (now_micros(), LEASE, lease.epoch, lease.holder),
            )
        )


def get(sql: Sql, key: str) -> dict[str, Any] | None:
    value = sql.value("SELECT value FROM control WHERE key = ?", (key,))
    return None if value is None else json.loads(value)


def put(sql: Sql, key: str, value: dict[str, Any], *, lasting: timedelta | None = None) -> None:
    now = now_micros()
    sql.run(
        "INSERT INTO control (key, value, holder, epoch, beat, until, changed_at) VALUES (?, ?, '', 0, 0, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, until = excluded.until,"
        " changed_at = excluded.changed_at",
        (key, json.dumps(value), None if lasting is None else now + span(lasting), now),
    )


def read_lease(sql: Sql, *, locked: bool = False) -> Lease:
    """The lease; `locked` inside a transaction that relies on it: nobody takes over before its commit."""
    suffix = sql.to_change if locked else ""
    row = sql.one(f"SELECT holder, epoch, beat FROM control WHERE key = ?{suffix}", (LEASE,))
    return Lease(*row) if row else Lease("", 0, 0)


def require_lease(sql: Sql, lease: Lease) -> None:
    """LeaseLostError unless the lease is still ours: every marking transaction begins with it."""
    held = read_lease(sql, locked=True)
    if (held.holder, held.epoch) != (lease.holder, lease.epoch):
        raise LeaseLostError("another dispatcher has taken over")
