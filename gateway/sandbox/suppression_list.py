"""The account's suppression list of the simulated SES."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from gateway.sandbox.addresses import folded
from gateway.sandbox.database import Database

_SELECT = "SELECT * FROM suppressed LEFT JOIN suppressed_by USING (address)"


@dataclass(frozen=True)
class Suppressed:
    """`message_id` and `feedback_id` name the report that put it there; nothing does for what a call has put."""

    address: str
    reason: str
    updated_at: float
    message_id: str | None = None
    feedback_id: str | None = None


class SuppressionList:
    """Exact in the local part, without case in the domain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, address: str, reason: str, *, message_id: str | None = None, feedback_id: str | None = None) -> None:
        """Whatever was there is replaced."""
        with self._database.transaction():
            self.delete(address)
            self._database.execute(
                "INSERT INTO suppressed (address, reason, updated_at) VALUES (?, ?, ?)",
                folded(address),
                reason,
                time.time(),
            )
            if message_id is not None:
                self._database.execute(
                    "INSERT INTO suppressed_by (address, message_id, feedback_id) VALUES (?, ?, ?)",
                    folded(address),
                    message_id,
                    feedback_id,
                )

    def get(self, address: str) -> Suppressed | None:
        row = self._database.one(f"{_SELECT} WHERE address = ?", folded(address))
        return None if row is None else _suppressed(row)

    def delete(self, address: str) -> bool:
        with self._database.transaction():
            self._database.execute("DELETE FROM suppressed_by WHERE address = ?", folded(address))
            return bool(self._database.execute("DELETE FROM suppressed WHERE address = ?", folded(address)))

    def page(self, after: str, size: int, reasons: list[str], since: float, before: float) -> list[Suppressed]:
        marks = ", ".join("?" for _ in reasons)
        rows = self._database.all(
            f"{_SELECT} WHERE address > ? AND reason IN ({marks}) AND updated_at BETWEEN ? AND ?"
            " ORDER BY address LIMIT ?",
            after,
            *reasons,
            since,
            before,
            size,
        )
        return [_suppressed(row) for row in rows]


def _suppressed(row: Any) -> Suppressed:
    return Suppressed(row["address"], row["reason"], row["updated_at"], row["message_id"], row["feedback_id"])
