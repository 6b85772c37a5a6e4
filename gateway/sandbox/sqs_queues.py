"""The queues of the simulated SQS."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from gateway.sandbox import sqs_attributes, sqs_errors
from gateway.sandbox.database import Database
from gateway.sandbox.sqs_attributes import Attributes, Redrive


@dataclass(frozen=True)
class Queue:
    """`given` are the attributes that somebody chose; the others have their defaults."""

    name: str
    given: Attributes
    created_at: float
    changed_at: float

    @property
    def attributes(self) -> Attributes:
        return {**sqs_attributes.DEFAULTS, **{name: value for name, value in self.given.items() if value}}

    @property
    def redrive(self) -> Redrive | None:
        return sqs_attributes.redrive(self.given)

    def seconds(self, attribute: str) -> int:
        """The value of an attribute that is a time."""
        return int(self.attributes[attribute])


class Queues:
    """A name is free again as soon as its queue is deleted. At AWS it is after a minute, for which no test waits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, attributes: Attributes) -> bool:
        """Whether it was made: it may exist, with the same values in all attributes that are given."""
        with self._database.transaction():
            found = self.find(name)
            if found is not None:
                _require_same(found, attributes)
                return False
            self._require_target(attributes)
            now = time.time()
            self._database.insert(
                "INSERT INTO queues (name, attributes, created_at, changed_at) VALUES (?, ?, ?, ?)",
                name,
                json.dumps(attributes),
                now,
                now,
            )
            return True

    def find(self, name: str) -> Queue | None:
        row = self._database.one("SELECT * FROM queues WHERE name = ?", name)
        if row is None:
            return None
        return Queue(row["name"], json.loads(row["attributes"]), row["created_at"], row["changed_at"])

    def get(self, name: str) -> Queue:
        found = self.find(name)
        if found is None:
            raise sqs_errors.queue_missing()
        return found

    def names(self, prefix: str = "") -> list[str]:
        rows = self._database.all(
            "SELECT name FROM queues WHERE substr(name, 1, ?) = ? ORDER BY name", len(prefix), prefix
        )
        return [row["name"] for row in rows]

    def feeding(self, target: str) -> list[str]:
        """The queues whose dead letters go to this one."""
        queues = (self.get(name) for name in self.names())
        return [queue.name for queue in queues if queue.redrive is not None and queue.redrive.target == target]

    def change(self, name: str, changed: Attributes) -> None:
        with self._database.transaction():
            queue = self.get(name)
            self._require_target(changed)
            self._database.execute(
                "UPDATE queues SET attributes = ?, changed_at = ? WHERE name = ?",
                json.dumps(queue.given | changed),
                time.time(),
                name,
            )

    def delete(self, name: str) -> None:
        """With everything in it."""
        with self._database.transaction():
            self.get(name)
            self._database.execute("DELETE FROM queue_messages WHERE queue = ?", name)
            self._database.execute("DELETE FROM queues WHERE name = ?", name)

    def _require_target(self, attributes: Attributes) -> None:
        redrive = sqs_attributes.redrive(attributes)
        if redrive is not None and self.find(redrive.target) is None:
            raise sqs_errors.invalid("RedrivePolicy", attributes["RedrivePolicy"], "Dead letter target does not exist.")


def _require_same(queue: Queue, attributes: Attributes) -> None:
    known = queue.attributes
    for name, value in attributes.items():
        if known.get(name, "") != value:
            raise sqs_errors.queue_differs(name)
