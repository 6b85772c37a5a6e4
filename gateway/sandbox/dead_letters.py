"""The dead letters of subscriptions: what an endpoint refused for good, or never took.

https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import structlog

from gateway.sandbox.carriers import QueueCarrier, as_draft
from gateway.sandbox.envelopes import Stationery
from gateway.sandbox.outbox import NOTIFICATION, Outcome
from gateway.sandbox.sns_resources import Subscriptions
from gateway.sandbox.sqs_messages import Draft

_log = structlog.get_logger(__name__)


class DeadLetters:
    def __init__(self, subscriptions: Subscriptions, stationery: Stationery, queues: QueueCarrier) -> None:
        self._subscriptions = subscriptions
        self._stationery = stationery
        self._queues = queues

    def keep(self, outcome: Outcome) -> None:
        """What the endpoint did not get goes into the queue of the RedrivePolicy, if that lets SNS send."""
        target_arn = self._target(outcome)
        if target_arn is None:
            return
        answer = self._queues.carry(target_arn, outcome.parcel.topic_arn, self._letter(outcome))
        if not answer.taken:
            _log.warning("sandbox_dead_letter_lost", queue=target_arn, reason=answer.error)

    def _target(self, outcome: Outcome) -> str | None:
        if outcome.delivered or outcome.retry_after is not None or outcome.parcel.type != NOTIFICATION:
            return None
        subscription = self._subscriptions.find(outcome.parcel.subscription_arn)
        return None if subscription is None else subscription.dead_letter_target

    def _letter(self, outcome: Outcome) -> Draft:
        """The message as the endpoint would have got it, and why it did not."""
        parcel = outcome.parcel
        subscription = self._subscriptions.find(parcel.subscription_arn)
        raw = subscription is not None and subscription.raw
        draft = as_draft(parcel, self._stationery.request(parcel, raw=raw), raw=raw)
        return replace(draft, attributes={**draft.attributes, **_reasons(outcome)})


def _reasons(outcome: Outcome) -> dict[str, dict[str, Any]]:
    code = "NoAnswer" if outcome.status is None else str(outcome.status)
    reasons = {
        "RequestID": str(uuid.uuid4()),
        "ErrorCode": code,
        "ErrorMessage": outcome.error or f"The endpoint answered {code}.",
    }
    return {name: {"DataType": "String", "StringValue": value} for name, value in reasons.items()}
