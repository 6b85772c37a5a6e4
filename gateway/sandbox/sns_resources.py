"""The topics and subscriptions of the simulated SNS."""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from gateway.sandbox import retry_policy
from gateway.sandbox.database import Database
from gateway.sandbox.errors import named
from gateway.sandbox.retry_policy import RetryPolicy

Attributes = dict[str, str]


@dataclass(frozen=True)
class Topic:
    arn: str
    attributes: Attributes

    @property
    def signature_version(self) -> str:
        """A topic signs with version 1 until told otherwise, still today."""
        return self.attributes.get("SignatureVersion", "1")

    @property
    def retry_policy(self) -> RetryPolicy:
        """Of every subscription that has none of its own."""
        given = self.attributes.get("DeliveryPolicy")
        return retry_policy.parse(given) if given else RetryPolicy()


class Topics:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, arn: str, attributes: Attributes) -> None:
        """Nothing happens if it exists: CreateTopic is idempotent."""
        self._database.execute(
            "INSERT OR IGNORE INTO topics (arn, attributes) VALUES (?, ?)", arn, json.dumps(attributes)
        )

    def find(self, arn: str) -> Topic | None:
        row = self._database.one("SELECT * FROM topics WHERE arn = ?", arn)
        return None if row is None else Topic(row["arn"], json.loads(row["attributes"]))

    def get(self, arn: str) -> Topic:
        found = self.find(arn)
        if found is None:
            raise named("NotFound", "Topic does not exist")
        return found

    def retry_policy(self, subscription: Subscription) -> RetryPolicy:
        """The subscription's own, else the patience of the wired one and of queues, else the topic's."""
        given = subscription.attributes.get("DeliveryPolicy")
        if given:
            return retry_policy.parse(given)
        patient = subscription.holds or subscription.protocol == "sqs"
        return retry_policy.WIRED if patient else self.get(subscription.topic_arn).retry_policy

    def exists(self, arn: str) -> bool:
        return self._database.one("SELECT 1 FROM topics WHERE arn = ?", arn) is not None

    def arns(self) -> list[str]:
        return [row["arn"] for row in self._database.all("SELECT arn FROM topics ORDER BY arn")]

    def set_attribute(self, arn: str, name: str, value: str) -> None:
        with self._database.transaction():
            attributes = self.get(arn).attributes | {name: value}
            self._database.execute("UPDATE topics SET attributes = ? WHERE arn = ?", json.dumps(attributes), arn)

    def delete(self, arn: str) -> None:
        """With its subscriptions and whatever they still wait for. Deleting what is not there succeeds, as at AWS."""
        with self._database.transaction():
            self._database.execute("DELETE FROM topics WHERE arn = ?", arn)
            self._database.execute("DELETE FROM subscriptions WHERE topic_arn = ?", arn)
            self._database.execute("DELETE FROM unsubscribed WHERE topic_arn = ?", arn)
            self._database.execute(
                "DELETE FROM notifications WHERE topic_arn = ? AND status IN ('PENDING', 'HELD')", arn
            )


@dataclass(frozen=True)
class Subscription:
    """`holds`: what is published before the confirmation waits for it. SNS never does that; the wired subscription
    does, for the webhook of a laptop may start after the first mail.
    """

    arn: str
    topic_arn: str
    protocol: str
    endpoint: str
    token: str
    confirmed: bool
    authenticated_unsubscribe: bool
    holds: bool
    attributes: Attributes

    @property
    def raw(self) -> bool:
        return self.attributes.get("RawMessageDelivery", "false").lower() == "true"

    @property
    def dead_letter_target(self) -> str | None:
        """The queue for what the endpoint does not take, by the RedrivePolicy."""
        given = self.attributes.get("RedrivePolicy")
        return str(json.loads(given).get("deadLetterTargetArn")) if given else None


class Subscriptions:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, topic_arn: str, protocol: str, endpoint: str, attributes: Attributes, *, holds: bool = False
    ) -> Subscription:
        """A subscription that waits for its confirmation."""
        made = Subscription(
            f"{topic_arn}:{uuid.uuid4()}",
            topic_arn,
            protocol,
            endpoint,
            secrets.token_hex(128),
            confirmed=False,
            authenticated_unsubscribe=False,
            holds=holds,
            attributes=attributes,
        )
        self._database.execute(
            "INSERT INTO subscriptions (arn, topic_arn, protocol, endpoint, token, confirmed,"
            " authenticated_unsubscribe, holds, attributes) VALUES (?, ?, ?, ?, ?, 0, 0, ?, ?)",
            made.arn,
            topic_arn,
            protocol,
            endpoint,
            made.token,
            holds,
            json.dumps(attributes),
        )
        return made

    def find(self, arn: str) -> Subscription | None:
        return self._first("SELECT * FROM subscriptions WHERE arn = ?", arn)

    def get(self, arn: str) -> Subscription:
        found = self.find(arn)
        if found is None:
            raise named("NotFound", "Subscription does not exist")
        return found

    def to_endpoint(self, topic_arn: str, endpoint: str) -> Subscription | None:
        return self._first("SELECT * FROM subscriptions WHERE topic_arn = ? AND endpoint = ?", topic_arn, endpoint)

    def by_token(self, topic_arn: str, token: str) -> Subscription | None:
        return self._first("SELECT * FROM subscriptions WHERE topic_arn = ? AND token = ?", topic_arn, token)

    def of(self, topic_arn: str) -> list[Subscription]:
        rows = self._database.all("SELECT * FROM subscriptions WHERE topic_arn = ? ORDER BY arn", topic_arn)
        return [_subscription(row) for row in rows]

    def all(self) -> list[Subscription]:
        return [_subscription(row) for row in self._database.all("SELECT * FROM subscriptions ORDER BY arn")]

    def confirm(self, arn: str, *, authenticated_unsubscribe: bool) -> None:
        self._database.execute(
            "UPDATE subscriptions SET confirmed = 1, authenticated_unsubscribe = authenticated_unsubscribe OR ?"
            " WHERE arn = ?",
            authenticated_unsubscribe,
            arn,
        )

    def set_attribute(self, arn: str, name: str, value: str) -> None:
        with self._database.transaction():
            attributes = self.get(arn).attributes | {name: value}
            if not value:
                del attributes[name]
            self._database.execute("UPDATE subscriptions SET attributes = ? WHERE arn = ?", json.dumps(attributes), arn)

    def delete(self, arn: str) -> None:
        self._database.execute("DELETE FROM subscriptions WHERE arn = ?", arn)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Delete it, and count it among those that were deleted."""
        with self._database.transaction():
            self.delete(subscription.arn)
            self._database.execute(
                "INSERT INTO unsubscribed (topic_arn, number) VALUES (?, 1)"
                " ON CONFLICT (topic_arn) DO UPDATE SET number = number + 1",
                subscription.topic_arn,
            )

    def deleted(self, topic_arn: str) -> int:
        row = self._database.one("SELECT number FROM unsubscribed WHERE topic_arn = ?", topic_arn)
        return 0 if row is None else int(row["number"])

    def _first(self, sql: str, *values: str) -> Subscription | None:
        row = self._database.one(sql, *values)
        return None if row is None else _subscription(row)


def _subscription(row: Any) -> Subscription:
    return Subscription(
        row["arn"],
        row["topic_arn"],
        row["protocol"],
        row["endpoint"],
        row["token"],
        bool(row["confirmed"]),
        bool(row["authenticated_unsubscribe"]),
        bool(row["holds"]),
        json.loads(row["attributes"]),
    )
