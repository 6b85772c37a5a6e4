"""What the webhook and the queue's consumer saw last, of each kind: a fact in the control store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from gateway.store import control
from gateway.store.control import HEARD
from gateway.store.db import Database
from gateway.store.sql import Sql
from gateway.store.times import now_micros

Program: TypeAlias = Literal["webhook", "queue"]


@dataclass(frozen=True, slots=True)
class Record:
    """When something was seen, the ARN of the topic it was of or claimed to be of, and why it was not taken."""

    at: datetime
    topic: str
    reason: str


def note_heard(db: Database, program: Program, records: Mapping[str, Record]) -> None:
    """Put what was seen, by its kind, in the place of what was seen before by any process of this program."""
    told = {kind: _told(record) for kind, record in records.items()}

    def work(sql: Sql) -> None:
        before = _read_to_change(sql)
        mine = before.get(program)
        kept = mine if isinstance(mine, dict) else {}
        newer = {kind: one for kind, one in told.items() if str((kept.get(kind) or {}).get("at", "")) <= one["at"]}
        control.put(sql, HEARD, {**before, program: {**kept, **newer}})

    db.write(work)


def _told(record: Record) -> dict[str, str]:
    at = record.at.astimezone(UTC).isoformat(timespec="microseconds")  # so that texts sort as moments do
    return {"at": at, "topic": record.topic, "reason": record.reason}


def _read_to_change(sql: Sql) -> dict[str, Any]:
    """What is not there cannot be locked, so it is made."""
    made = "INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES (?, '{}', '', 0, 0, ?)"
    sql.run(f"{made} ON CONFLICT (key) DO NOTHING", (HEARD, now_micros()))
    sql.value(f"SELECT value FROM control WHERE key = ?{sql.to_change}", (HEARD,))
    return control.get(sql, HEARD) or {}
