"""What the simulated AWS starts with: a configuration set, a topic, and the webhook's subscription."""

from __future__ import annotations

import json
from typing import Final

from gateway.sandbox import names, queue_policy, topic_policy
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.resources import Resources
from gateway.sandbox.sns_resources import Subscription

_RECORD: Final = "wired-subscription"
_QUEUE_RECORD: Final = "wired-queue-subscription"
_TWO_WEEKS: Final = "1209600"


def wire(config: SandboxConfig, resources: Resources, publisher: Publisher) -> None:
    """Safe to repeat at every start: what is there stays, what is missing is made."""
    with resources.database.transaction():
        _topic(config, resources)
        _queues(config, resources)
        _event_destination(config, resources)
        if config.webhook_url is not None:
            _subscription(config, config.webhook_url, resources, publisher)
        _queue_subscription(config, resources)


def _topic(config: SandboxConfig, resources: Resources) -> None:
    set_arn = config.configuration_set_arn(names.CONFIGURATION_SET)
    policy = topic_policy.for_ses(config.topic_arn, config.account_id, set_arn, config.identity_arn("*"))
    resources.topics.create(config.topic_arn, {"Policy": policy, "SignatureVersion": "2"})


def _queues(config: SandboxConfig, resources: Resources) -> None:
    """The queue for `sesgate feedback-queue`, and where it leaves what it cannot take."""
    if resources.queues.find(names.FEEDBACK_DEAD_LETTERS) is None:
        dead = queue_policy.for_topic(config.queue_arn(names.FEEDBACK_DEAD_LETTERS), config.topic_arn)
        resources.queues.create(names.FEEDBACK_DEAD_LETTERS, {"MessageRetentionPeriod": _TWO_WEEKS, "Policy": dead})
    if resources.queues.find(names.FEEDBACK_QUEUE) is None:
        redrive = {
            "deadLetterTargetArn": config.queue_arn(names.FEEDBACK_DEAD_LETTERS),
            "maxReceiveCount": names.FEEDBACK_RECEIVES,
        }
        policy = queue_policy.for_topic(config.queue_arn(names.FEEDBACK_QUEUE), config.topic_arn)
        attributes = {"MessageRetentionPeriod": _TWO_WEEKS, "Policy": policy, "RedrivePolicy": json.dumps(redrive)}
        resources.queues.create(names.FEEDBACK_QUEUE, attributes)


def _queue_subscription(config: SandboxConfig, resources: Resources) -> None:
    """From the topic to the feedback queue, there only while the gateway reads that."""
    endpoint = config.queue_arn(names.FEEDBACK_QUEUE)
    wired = resources.subscriptions.find(resources.records.load(_QUEUE_RECORD) or "")
    if config.feeds_queue and resources.subscriptions.to_endpoint(config.topic_arn, endpoint) is None:
        made = resources.subscriptions.create(config.topic_arn, "sqs", endpoint, {})
        resources.subscriptions.confirm(made.arn, authenticated_unsubscribe=True)
        resources.records.save(_QUEUE_RECORD, made.arn)
    elif wired is not None and not config.feeds_queue:
        resources.outbox.withdraw(wired.arn)
        resources.subscriptions.delete(wired.arn)


def _event_destination(config: SandboxConfig, resources: Resources) -> None:
    if not resources.configuration_sets.exists(names.CONFIGURATION_SET):
        resources.configuration_sets.create(names.CONFIGURATION_SET, {})
    if not resources.destinations.of(names.CONFIGURATION_SET):
        definition = {
            "Enabled": True,
            "MatchingEventTypes": list(names.EVENT_TYPES),
            "SnsDestination": {"TopicArn": config.topic_arn},
        }
        resources.destinations.create(names.CONFIGURATION_SET, names.EVENT_DESTINATION, definition)


def _subscription(config: SandboxConfig, webhook_url: str, resources: Resources, publisher: Publisher) -> None:
    """The webhook's, replaced if the webhook has moved since the last start."""
    before = resources.subscriptions.find(resources.records.load(_RECORD) or "")
    if before is not None and before.endpoint == webhook_url:
        if not before.confirmed:
            publisher.ask_confirmation(before)
        return
    made = _subscribe(config, webhook_url, resources)
    publisher.ask_confirmation(made)
    if before is not None:
        resources.outbox.hand_over(before.arn, made.arn, webhook_url)
        resources.outbox.withdraw(before.arn)
        resources.subscriptions.delete(before.arn)


def _subscribe(config: SandboxConfig, webhook_url: str, resources: Resources) -> Subscription:
    protocol = webhook_url.partition(":")[0].lower()
    redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": config.queue_arn(names.FEEDBACK_DEAD_LETTERS)})}
    made = resources.subscriptions.create(config.topic_arn, protocol, webhook_url, redrive, holds=True)
    resources.records.save(_RECORD, made.arn)
    return made
