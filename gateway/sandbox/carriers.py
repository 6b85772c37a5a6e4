"""How a message reaches an endpoint of the simulated SNS: by HTTP, or into a queue of the same account."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import urllib3

from gateway import resource_policies
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.envelopes import Request
from gateway.sandbox.outbox import Parcel
from gateway.sandbox.resources import Resources
from gateway.sandbox.sqs_messages import Draft
from gateway.sandbox.sqs_queues import Queue

QUEUE_PREFIX: Final = "arn:aws:sqs:"
"""What an endpoint that is a queue starts with."""

_ANSWER_WITHIN: Final = 15.0
"""Seconds that SNS gives an endpoint."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint said; a `status` of None means that nobody answered."""

    status: int | None
    error: str | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class HttpCarrier:
    def __init__(self, connections: int) -> None:
        self._pool = urllib3.PoolManager(maxsize=connections, retries=False)
        self._timeout = urllib3.Timeout(connect=5.0, read=_ANSWER_WITHIN)

    def carry(self, endpoint: str, request: Request) -> Answer:
        try:
            response = self._pool.request(
                "POST", endpoint, body=request.body, headers=request.headers, timeout=self._timeout, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            return Answer(None, type(error).__name__)
        return Answer(response.status)

    def close(self) -> None:
        self._pool.clear()


class QueueCarrier:
    """Puts messages into queues whose policy lets SNS send for the topic. A refusal is for good, as at AWS."""

    def __init__(self, config: SandboxConfig, resources: Resources) -> None:
        self._config = config
        self._queues = resources.queues
        self._messages = resources.queue_messages

    def carry(self, queue_arn: str, topic_arn: str, draft: Draft) -> Answer:
        queue = self._queues.find(queue_arn.rpartition(":")[2]) if self._is_here(queue_arn) else None
        if queue is None:
            return Answer(HTTPStatus.NOT_FOUND, "AWS.SimpleQueueService.NonExistentQueue")
        if not self._admits(queue, queue_arn, topic_arn):
            return Answer(HTTPStatus.FORBIDDEN, "AccessDenied")
        try:
            self._messages.send(queue, draft)
        except sqlite3.Error as error:  # A full disk, say: tried again, for it may not last.
            return Answer(None, type(error).__name__)
        return Answer(HTTPStatus.OK)

    def _is_here(self, queue_arn: str) -> bool:
        return queue_arn.startswith(self._config.queue_arn(""))

    def _admits(self, queue: Queue, queue_arn: str, topic_arn: str) -> bool:
        return resource_policies.admits_sns(
            queue.attributes.get("Policy"),
            queue_arn=queue_arn,
            account_id=self._config.account_id,
            topic_arn=topic_arn,
        )


def as_draft(parcel: Parcel, request: Request, *, raw: bool) -> Draft:
    """The same body as an HTTP endpoint gets. With raw delivery the message's attributes become the queue's own."""
    return Draft(request.body.decode(), _attributes(parcel.attributes or {}) if raw else {})


def _attributes(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: _attribute(value["Type"], value["Value"]) for name, value in given.items()}


def _attribute(kind: str, value: str) -> dict[str, Any]:
    return {"DataType": kind, "BinaryValue" if kind == "Binary" else "StringValue": value}
