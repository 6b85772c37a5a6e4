"""The outbox of the simulated SNS: every message to every endpoint, waiting or done."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.sandbox import times
from gateway.sandbox.database import Database

NOTIFICATION: Final = "Notification"
SUBSCRIPTION_CONFIRMATION: Final = "SubscriptionConfirmation"
UNSUBSCRIBE_CONFIRMATION: Final = "UnsubscribeConfirmation"

_PAGE: Final = 500
_LOGGED: Final = "id, sns_message_id, type, topic_arn, subscription_arn, status, attempts, last_status, last_error"


@dataclass(frozen=True)
class Parcel:
    """One message on its way to one endpoint."""

    id: int
    sns_message_id: str
    type: str
    topic_arn: str
    subscription_arn: str
    endpoint: str
    signature_version: str
    subject: str | None
    message: str
    attributes: dict[str, Any] | None
    token: str | None
    published_at: str
    attempts: int


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to. No `retry_after` means no other attempt, no `status` that nobody answered."""

    parcel: Parcel
    delivered: bool
    status: int | None
    error: str | None
    retry_after: float | None


class Outbox:
    """PENDING is due at its time, HELD waits for a confirmation, DELIVERED and FAILED are the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        *,
        kind: str,
        topic_arn: str,
        subscription_arn: str,
        endpoint: str,
        signature_version: str,
        message: str,
        subject: str | None = None,
        attributes: dict[str, Any] | None = None,
        token: str | None = None,
        held: bool = False,
        after: float = 0.0,
        sns_message_id: str | None = None,
    ) -> None:
        self._database.insert(
            "INSERT INTO notifications (sns_message_id, type, topic_arn, subscription_arn, endpoint, signature_version,"
            " subject, message, attributes, token, published_at, status, due_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            sns_message_id or str(uuid.uuid4()),
            kind,
            topic_arn,
            subscription_arn,
            endpoint,
            signature_version,
            subject,
            message,
            None if attributes is None else json.dumps(attributes),
            token,
            times.iso_millis(times.now()),
            "HELD" if held else "PENDING",
            time.time() + after,
        )

    def due(self, now: float, limit: int, *, resting: Collection[str], in_flight: Collection[int]) -> list[Parcel]:
        """What may go out now: nothing to endpoints that rest, nothing that is on its way already."""
        rows = self._database.all(
            "SELECT * FROM notifications WHERE status = 'PENDING' AND due_at <= ?"
            f" AND endpoint NOT IN ({_marks(resting)}) AND id NOT IN ({_marks(in_flight)})"
            " ORDER BY due_at, id LIMIT ?",
            now,
            *resting,
            *in_flight,
            limit,
        )
        return [_parcel(row) for row in rows]

    def next_due(self, now: float) -> float | None:
        """When the next parcel that is not due yet will be."""
        row = self._database.one(
            "SELECT MIN(due_at) AS due_at FROM notifications WHERE status = 'PENDING' AND due_at > ?", now
        )
        return None if row is None else row["due_at"]

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """One transaction for all. What was withdrawn or confirmed meanwhile stays as it is."""
        with self._database.transaction():
            for outcome in outcomes:
                self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        waits = outcome.retry_after is not None
        ended = "DELIVERED" if outcome.delivered else "FAILED"
        self._database.execute(
            "UPDATE notifications SET status = CASE status WHEN 'PENDING' THEN ? ELSE status END,"
            " attempts = attempts + 1, last_status = ?, last_error = ?, due_at = ?,"
            " message = CASE WHEN ? THEN message ELSE NULL END WHERE id = ?",
            "PENDING" if waits else ended,
            outcome.status,
            outcome.error,
            time.time() + (outcome.retry_after or 0.0),
            waits,
            outcome.parcel.id,
        )

    def confirmed(self, subscription_arn: str) -> None:
        """The confirmation has done its work, and what waited for it may go."""
        with self._database.transaction():
            self._database.execute(
                "UPDATE notifications SET status = 'DELIVERED', message = NULL"
                " WHERE subscription_arn = ? AND status = 'PENDING' AND type = ?",
                subscription_arn,
                SUBSCRIPTION_CONFIRMATION,
            )
            self._database.execute(
                "UPDATE notifications SET status = 'PENDING', due_at = max(due_at, ?)"
                " WHERE subscription_arn = ? AND status = 'HELD'",
                time.time(),
                subscription_arn,
            )

    def withdraw(self, subscription_arn: str, *, kind: str | None = None) -> None:
        """Drop what still waits for a subscription: of one kind, or all."""
        self._database.execute(
            "DELETE FROM notifications WHERE subscription_arn = ? AND status IN ('PENDING', 'HELD')"
            " AND type = coalesce(?, type)",
            subscription_arn,
            kind,
        )

    def hand_over(self, old_arn: str, new_arn: str, endpoint: str) -> None:
        """What an endpoint that moved has not got yet waits for the confirmation of the new one."""
        self._database.execute(
            "UPDATE notifications SET subscription_arn = ?, endpoint = ?, status = 'HELD'"
            " WHERE subscription_arn = ? AND type = ? AND status IN ('PENDING', 'HELD')",
            new_arn,
            endpoint,
            old_arn,
            NOTIFICATION,
        )

    def log(self) -> Iterator[dict[str, Any]]:
        """Oldest first, a page of rows in memory at a time."""
        after = 0
        while rows := self._database.all(
            f"SELECT {_LOGGED} FROM notifications WHERE id > ? ORDER BY id LIMIT ?", after, _PAGE
        ):
            after = rows[-1]["id"]
            yield from (dict(row) for row in rows)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" for _ in values)


def _parcel(row: Any) -> Parcel:
    return Parcel(
        row["id"],
        row["sns_message_id"],
        row["type"],
        row["topic_arn"],
        row["subscription_arn"],
        row["endpoint"],
        row["signature_version"],
        row["subject"],
        row["message"] or "",
        None if row["attributes"] is None else json.loads(row["attributes"]),
        row["token"],
        row["published_at"],
        row["attempts"],
    )
