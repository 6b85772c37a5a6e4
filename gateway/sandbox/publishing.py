"""What SNS does with a message: one parcel for each subscription, in the outbox."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.sandbox.faults import FaultDesk
from gateway.sandbox.outbox import NOTIFICATION, SUBSCRIPTION_CONFIRMATION, UNSUBSCRIBE_CONFIRMATION, Outbox
from gateway.sandbox.sns_resources import Subscription, Subscriptions, Topics

_SHUFFLE_WITHIN: Final = 0.5
"""Seconds. With the fault `shuffle` every notification is late by up to this much."""


class Publisher:
    """Writes to the outbox, so inside a transaction a message is published exactly if what caused it is committed.

    `wake` is called after each writing; the courier looks again a moment later in any case.
    """

    def __init__(
        self,
        topics: Topics,
        subscriptions: Subscriptions,
        outbox: Outbox,
        faults: FaultDesk,
        wake: Callable[[], None],
    ) -> None:
        self._topics = topics
        self._subscriptions = subscriptions
        self._outbox = outbox
        self._faults = faults
        self.wake = wake

    def publish(
        self,
        topic_arn: str,
        message: str | Mapping[str, str],
        *,
        subject: str | None = None,
        attributes: dict[str, Any] | None = None,
        after: float = 0.0,
    ) -> str:
        """The SNS message id; `message` may be a text for each protocol. NotFound if there is no such topic."""
        topic = self._topics.get(topic_arn)
        sns_message_id = str(uuid.uuid4())
        for subscription in self._subscriptions.of(topic_arn):
            if subscription.confirmed or subscription.holds:
                for copy in self._copies(sns_message_id):
                    self._outbox.add(
                        kind=NOTIFICATION,
                        topic_arn=topic_arn,
                        subscription_arn=subscription.arn,
                        endpoint=subscription.endpoint,
                        signature_version=topic.signature_version,
                        message=_for(subscription, message),
                        subject=subject,
                        attributes=attributes,
                        held=not subscription.confirmed,
                        after=after + self._lateness(),
                        sns_message_id=copy,
                    )
        self.wake()
        return sns_message_id

    def ask_confirmation(self, subscription: Subscription) -> None:
        """Ask until the endpoint confirms; an earlier question is withdrawn."""
        self._outbox.withdraw(subscription.arn, kind=SUBSCRIPTION_CONFIRMATION)
        self._ask(
            subscription,
            SUBSCRIPTION_CONFIRMATION,
            f"You have chosen to subscribe to the topic {subscription.topic_arn}.\n"
            "To confirm the subscription, visit the SubscribeURL included in this message.",
        )

    def tell_unsubscribed(self, subscription: Subscription) -> None:
        """A stranger ended the subscription through its link: the endpoint may take it back."""
        self._ask(
            subscription,
            UNSUBSCRIBE_CONFIRMATION,
            f"You have chosen to deactivate subscription {subscription.arn}.\n"
            "To cancel this operation and restore the subscription, visit the SubscribeURL included in this message.",
        )

    def _ask(self, subscription: Subscription, kind: str, message: str) -> None:
        self._outbox.add(
            kind=kind,
            topic_arn=subscription.topic_arn,
            subscription_arn=subscription.arn,
            endpoint=subscription.endpoint,
            signature_version=self._topics.get(subscription.topic_arn).signature_version,
            message=message,
            token=subscription.token,
        )
        self.wake()

    def _copies(self, sns_message_id: str) -> list[str | None]:
        """The message id of each copy: the fault `duplicates` repeats it, or None asks for one of its own."""
        faults = self._faults.faults
        repeated = sns_message_id if faults.duplicate_message_ids == "same" else None
        return [sns_message_id, *[repeated] * faults.duplicates]

    def _lateness(self) -> float:
        faults = self._faults.faults
        jitter = random.uniform(0.0, _SHUFFLE_WITHIN) if faults.shuffle else 0.0  # noqa: S311 - no secret
        return faults.event_delay_ms / 1000 + jitter


def _for(subscription: Subscription, message: str | Mapping[str, str]) -> str:
    return message if isinstance(message, str) else message.get(subscription.protocol, message["default"])
