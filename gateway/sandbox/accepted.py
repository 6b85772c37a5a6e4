"""The accepted copies: what this simulated AWS answered 200 to, byte for byte."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any, Final

from gateway.sandbox.database import Database
from gateway.sandbox.events import Accepted
from gateway.sandbox.mime import decoded, first, mailbox
from gateway.sandbox.simulator import is_simulated
from gateway.sandbox.times import iso_millis

_PAGE: Final = 500
_DAY_IN_MINUTES: Final = 24 * 60


class AcceptedCopies:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, accepted: Accepted, raw: bytes) -> None:
        """Keep a copy, inside the transaction that also holds its events."""
        seq = self._database.insert(
            "INSERT INTO messages (id, accepted_at, source, recipients, subject, tags, configuration_set, size, sha256)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            accepted.message_id,
            iso_millis(accepted.accepted_at),
            accepted.source,
            json.dumps([mailbox(recipient) for recipient in accepted.recipients]),
            decoded(first(accepted.fields, "Subject") or ""),
            json.dumps(dict(accepted.tags)),
            accepted.configuration_set,
            len(raw),
            hashlib.sha256(raw).hexdigest(),
        )
        self._database.insert("INSERT INTO contents (seq, raw) VALUES (?, ?)", seq, raw)
        self._count(sum(not is_simulated(recipient) for recipient in accepted.recipients))

    def sent_last_24_hours(self) -> int:
        """Recipients that cost daily quota, to the minute."""
        since = _minute() - _DAY_IN_MINUTES
        row = self._database.one("SELECT COALESCE(SUM(recipients), 0) AS sent FROM usage WHERE minute > ?", since)
        return int(row["sent"]) if row is not None else 0

    def listed(self) -> Iterator[dict[str, Any]]:
        """Oldest first, a page of rows in memory at a time."""
        after = 0
        while rows := self._database.all("SELECT * FROM messages WHERE seq > ? ORDER BY seq LIMIT ?", after, _PAGE):
            for row in rows:
                shown = dict(row)
                after = shown.pop("seq")
                yield shown | {"recipients": json.loads(row["recipients"]), "tags": json.loads(row["tags"])}

    def raw(self, message_id: str) -> bytes | None:
        row = self._database.one("SELECT raw FROM contents JOIN messages USING (seq) WHERE messages.id = ?", message_id)
        return None if row is None else bytes(row["raw"])

    def clear(self) -> None:
        """Forget all copies, and the daily quota they used."""
        with self._database.transaction():
            for table in ("contents", "messages", "usage"):
                self._database.execute(f"DELETE FROM {table}")

    def _count(self, recipients: int) -> None:
        if recipients:
            self._database.execute(
                "INSERT INTO usage (minute, recipients) VALUES (?, ?)"
                " ON CONFLICT (minute) DO UPDATE SET recipients = recipients + excluded.recipients",
                _minute(),
                recipients,
            )


def _minute() -> int:
    return int(time.time() // 60)
