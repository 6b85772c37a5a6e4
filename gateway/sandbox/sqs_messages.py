"""The messages in the queues of the simulated SQS: sent, in flight, received once too often."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.sandbox import sqs_errors
from gateway.sandbox.database import Database
from gateway.sandbox.sqs_queues import Queue, Queues

MessageAttributes = Mapping[str, Mapping[str, Any]]

_FOREVER: Final = 3600.0
"""Seconds; longer than any receiver waits."""


@dataclass(frozen=True)
class Draft:
    """What a sender gives. `delay` None is the queue's own."""

    body: str = field(repr=False)
    attributes: MessageAttributes = field(default_factory=dict)
    system_attributes: MessageAttributes = field(default_factory=dict)
    delay: int | None = None


@dataclass(frozen=True)
class Received:
    """A message in flight."""

    id: str
    handle: str
    body: str = field(repr=False)
    attributes: MessageAttributes
    system: Mapping[str, str]


@dataclass(frozen=True)
class Counts:
    visible: int
    in_flight: int
    delayed: int


class Arrivals:
    """Wakes receivers that wait. Nobody is woken for nothing but by a message that came to another queue."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def count(self) -> int:
        with self._condition:
            return self._count

    def tell(self) -> None:
        """Something changed. Inside a transaction it is told early: a receiver cannot look before it is committed."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Until something changed since `seen` was counted, or so long, or until the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._count != seen, seconds)

    def close(self) -> None:
        self._closed = True
        self.tell()


class QueueMessages:
    """A message is invisible until `visible_at`: while it is delayed, and while somebody has it in hand."""

    def __init__(self, database: Database, queues: Queues, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._queues = queues
        self._clock = clock
        self.arrivals = Arrivals()

    def send(self, queue: Queue, draft: Draft) -> str:
        """The message's id."""
        message_id = str(uuid.uuid4())
        now = self._clock()
        delay = queue.seconds("DelaySeconds") if draft.delay is None else draft.delay
        self._database.insert(
            "INSERT INTO queue_messages (queue, id, body, attributes, system_attributes, sent_at, visible_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            queue.name,
            message_id,
            draft.body,
            json.dumps(draft.attributes),
            json.dumps(draft.system_attributes),
            now,
            now + delay,
        )
        self.arrivals.tell()
        return message_id

    def poll(
        self, name: str, *, limit: int, visibility: int | None, wait: float, abandoned: Callable[[], bool]
    ) -> list[Received]:
        """Up to `limit` messages, as soon as there is any; waits so many seconds for the first.

        Nothing is taken for a receiver that has `abandoned` its call: it would be invisible, and in nobody's hand.
        """
        deadline = time.monotonic() + wait
        while True:
            seen = self.arrivals.count()
            if abandoned():
                return []
            taken = self._receive(name, limit, visibility)
            left = deadline - time.monotonic()
            if taken or left <= 0.0:
                return taken
            self.arrivals.wait(seen, min(left, self._until_next(name)))
            if self.arrivals.closed:
                return []

    def _receive(self, name: str, limit: int, visibility: int | None) -> list[Received]:
        with self._database.transaction():
            queue = self._queues.get(name)
            now = self._clock()
            self._forget_old(queue, now)
            self._bury(queue, now)
            rows = self._database.all(
                "SELECT * FROM queue_messages WHERE queue = ? AND visible_at <= ? ORDER BY visible_at, seq LIMIT ?",
                name,
                now,
                limit,
            )
            invisible = queue.seconds("VisibilityTimeout") if visibility is None else visibility
            return [self._hand_out(row, now, now + invisible) for row in rows]

    def _hand_out(self, row: Any, now: float, visible_at: float) -> Received:
        receipt = secrets.token_urlsafe(24)
        self._database.execute(
            "UPDATE queue_messages SET receipt = ?, visible_at = ?, received = received + 1,"
            " first_received_at = coalesce(first_received_at, ?) WHERE seq = ?",
            receipt,
            visible_at,
            now,
            row["seq"],
        )
        return _received(row, now, _Handle(row["queue"], row["seq"], receipt).text())

    def _forget_old(self, queue: Queue, now: float) -> None:
        self._database.execute(
            "DELETE FROM queue_messages WHERE queue = ? AND sent_at < ?",
            queue.name,
            now - queue.seconds("MessageRetentionPeriod"),
        )

    def _bury(self, queue: Queue, now: float) -> None:
        """Move what was received too often to the dead letters. Its age goes on from when it was sent, as at AWS."""
        redrive = queue.redrive
        if redrive is None or self._queues.find(redrive.target) is None:
            return
        moved = self._database.execute(
            "UPDATE queue_messages SET queue = ?, source_arn = ?, visible_at = ?, receipt = NULL"
            " WHERE queue = ? AND received >= ? AND received > 0 AND visible_at <= ?",
            redrive.target,
            redrive.arn_of(queue.name),
            now,
            queue.name,
            redrive.max_receives,
            now,
        )
        if moved:
            self.arrivals.tell()

    def _until_next(self, name: str) -> float:
        """Seconds until a message of this queue becomes visible by itself."""
        row = self._database.one("SELECT min(visible_at) AS next FROM queue_messages WHERE queue = ?", name)
        if row is None or row["next"] is None:
            return _FOREVER
        return max(0.01, float(row["next"]) - self._clock())

    def delete(self, name: str, handle: str) -> None:
        """Succeeds for what is gone already, and does nothing for a handle that a later receive has replaced."""
        held = _Handle.parse(name, handle)
        self._database.execute(
            "DELETE FROM queue_messages WHERE seq = ? AND queue = ? AND receipt = ?", held.seq, name, held.receipt
        )

    def change_visibility(self, name: str, handle: str, seconds: int) -> None:
        """From now on; 0 gives the message back at once."""
        held = _Handle.parse(name, handle)
        with self._database.transaction():
            now = self._clock()
            row = self._database.one(
                "SELECT visible_at FROM queue_messages WHERE seq = ? AND queue = ? AND receipt = ?",
                held.seq,
                name,
                held.receipt,
            )
            if row is None:
                raise sqs_errors.message_gone(handle)
            if row["visible_at"] <= now:
                raise sqs_errors.not_in_flight()
            self._database.execute("UPDATE queue_messages SET visible_at = ? WHERE seq = ?", now + seconds, held.seq)
        self.arrivals.tell()

    def purge(self, name: str) -> None:
        self._database.execute("DELETE FROM queue_messages WHERE queue = ?", name)

    def move(self, source: str, target: str | None) -> int:
        """Take dead letters back to `target`, or each to where it came from. They begin again as new messages."""
        with self._database.transaction():
            now = self._clock()
            rows = self._database.all(
                "SELECT seq, source_arn FROM queue_messages WHERE queue = ? AND visible_at <= ?", source, now
            )
            moved = [self._revive(row, target, now) for row in rows]
        self.arrivals.tell()
        return sum(moved)

    def _revive(self, row: Any, target: str | None, now: float) -> bool:
        name = target or (row["source_arn"] or "").rpartition(":")[2]
        if self._queues.find(name) is None:
            return False
        self._database.execute(
            "UPDATE queue_messages SET queue = ?, id = ?, source_arn = NULL, received = 0, first_received_at = NULL,"
            " receipt = NULL, sent_at = ?, visible_at = ? WHERE seq = ?",
            name,
            str(uuid.uuid4()),
            now,
            now,
            row["seq"],
        )
        return True

    def counts(self, queue: Queue) -> Counts:
        now = self._clock()
        self._forget_old(queue, now)
        row = self._database.one(
            "SELECT coalesce(sum(visible_at <= ?), 0) AS visible,"
            " coalesce(sum(visible_at > ? AND received > 0), 0) AS in_flight,"
            " coalesce(sum(visible_at > ? AND received = 0), 0) AS late FROM queue_messages WHERE queue = ?",
            now,
            now,
            now,
            queue.name,
        )
        return Counts(0, 0, 0) if row is None else Counts(row["visible"], row["in_flight"], row["late"])


@dataclass(frozen=True)
class _Handle:
    """Names one receive of one message."""

    queue: str
    seq: int
    receipt: str

    def text(self) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.queue, self.seq, self.receipt]).encode()).decode()

    @classmethod
    def parse(cls, queue: str, text: str) -> _Handle:
        """ReceiptHandleIsInvalid for what no receive from this queue has given out."""
        try:
            named, seq, receipt = json.loads(base64.b64decode(text, altchars="-_", validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise sqs_errors.handle_invalid(text) from error
        if named != queue or not isinstance(seq, int) or not isinstance(receipt, str):
            raise sqs_errors.handle_invalid(text)
        return cls(queue, seq, receipt)


def _received(row: Any, now: float, handle: str) -> Received:
    first = row["first_received_at"]
    system = {name: given["StringValue"] for name, given in json.loads(row["system_attributes"]).items()}
    system |= {
        "SenderId": "AIDASANDBOX",
        "SentTimestamp": _millis(row["sent_at"]),
        "ApproximateReceiveCount": str(row["received"] + 1),
        "ApproximateFirstReceiveTimestamp": _millis(now if first is None else first),
    }
    if row["source_arn"] is not None:
        system["DeadLetterQueueSourceArn"] = row["source_arn"]
    return Received(row["id"], handle, row["body"], json.loads(row["attributes"]), system)


def _millis(moment: float) -> str:
    return str(int(moment * 1000))
