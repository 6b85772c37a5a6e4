"""What one set-up consists of: the resources with the exact attributes they shall have. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.aws.provisioning.names import CLASSIC_KINDS, EVENT_DESTINATION, Names, Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.policies import DELIVERY_POLICY, queue_policy, topic_policy
from gateway.sns_endpoints import masked_endpoint

_REPORTS: Final = (
    "SEND",
    "REJECT",
    "BOUNCE",
    "COMPLAINT",
    "DELIVERY",
    "RENDERING_FAILURE",
    "DELIVERY_DELAY",
    "SUBSCRIPTION",
)
_TRACKING: Final = ("OPEN", "CLICK")
"""With one of these SES changes HTML mail: it adds an image, or leads every link through a host of its own
(https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_TrackingConfigurationOverrides.html). The gateway promises
to leave content as it is, so somebody must ask for them."""

_DAYS_14: Final = 14 * 24 * 3600
"""The longest that SQS keeps a message."""
_VISIBILITY: Final = 120
_RECEIVES: Final = 20
"""A database that is away for half an hour must not move good messages to the dead-letter queue."""


class Kind(StrEnum):
    """What provision makes, as a person reads it."""

    TOPIC = "topic"
    QUEUE = "queue"
    CONFIGURATION_SET = "configuration set"
    EVENT_DESTINATION = "event destination"
    IDENTITY = "notifications of identity"
    TRUST = "trusted topics"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing, with what it shall be. Policies are JSON values here, never text.

    `name` says which one it is, to AWS and to a person; a subscription's endpoint may hold a password, so its name has
    the masked one and the endpoint itself stays out of `repr`. `parent` is what something without a tag of its own
    hangs on: a configuration set, or the ARN of a topic.
    """

    kind: Kind
    name: str
    attributes: Mapping[str, Any]
    arn: str = ""
    parent: str = ""
    endpoint: str = field(default="", repr=False)

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def has_tag(self) -> bool:
        return self.kind in {Kind.TOPIC, Kind.QUEUE, Kind.CONFIGURATION_SET}


def wanted(options: Options, place: Place) -> tuple[Resource, ...]:
    """Everything in the order in which it is made.

    SES tries an event destination at once, so the topic's policy stands before it; the webhook refuses topics that it
    does not know, so they are trusted before they are subscribed to.
    """
    names = Names(options.scope, options.environment)
    topics = _classic_topics(options, names, place) if options.classic else (_topic(names, place),)
    arns = [topic.arn for topic in topics]
    queues = _queues(options, names, place, arns)
    sources = _identities(options, names, place) if options.classic else _configuration_set(options, names, place)
    trust = Resource(Kind.TRUST, "in the gateway's database", {"arns": arns})
    subscriptions = [made for arn in arns for made in _subscriptions(options, names, place, arn)]
    return (*topics, *queues, *sources, trust, *subscriptions)


def _topic(names: Names, place: Place) -> Resource:
    source = place.arn("ses", f"configuration-set/{names.configuration_set}")
    return _topic_for(names.topic, place, [source])


def _classic_topics(options: Options, names: Names, place: Place) -> tuple[Resource, ...]:
    sources = [place.arn("ses", f"identity/{identity}") for identity in options.identities]
    return tuple(_topic_for(names.classic_topic(kind), place, sources) for kind in CLASSIC_KINDS)


def _topic_for(name: str, place: Place, sources: list[str]) -> Resource:
    """Signature version 2 is SHA-256; a topic that nobody told signs with SHA-1 still."""
    arn = place.arn("sns", name)
    return Resource(
        Kind.TOPIC, name, {"SignatureVersion": "2", "Policy": topic_policy(arn, place.account, sources)}, arn=arn
    )


def _queues(options: Options, names: Names, place: Place, topics: list[str]) -> list[Resource]:
    """The dead-letter queue is for both: what the webhook never took, and what the queue's consumer never managed."""
    dead = place.arn("sqs", names.dead_queue)
    from_sns = {"Policy": queue_policy(dead, topics)} if options.webhook_url is not None else {}
    made = [_queue(names.dead_queue, dead, from_sns)]
    if options.queue:
        arn = place.arn("sqs", names.queue)
        redrive = {"deadLetterTargetArn": dead, "maxReceiveCount": _RECEIVES}
        made.append(_queue(names.queue, arn, {"Policy": queue_policy(arn, topics), "RedrivePolicy": redrive}))
    return made


def _queue(name: str, arn: str, more: Mapping[str, Any]) -> Resource:
    """SQS asked with a wait of 20 seconds is asked rarely, and a consumer that died gives its messages back soon."""
    patience = {
        "MessageRetentionPeriod": str(_DAYS_14),
        "ReceiveMessageWaitTimeSeconds": "20",
        "VisibilityTimeout": str(_VISIBILITY),
    }
    return Resource(Kind.QUEUE, name, {**patience, **more}, arn=arn)


def _configuration_set(options: Options, names: Names, place: Place) -> list[Resource]:
    """The set's suppression options are left alone: the account's list stays in force."""
    name = names.configuration_set
    destination = {
        "Enabled": True,
        "MatchingEventTypes": sorted((*_REPORTS, *(_TRACKING if options.tracks_opens_and_clicks else ()))),
        "TopicArn": place.arn("sns", names.topic),
    }
    arn = place.arn("ses", f"configuration-set/{name}")
    return [
        Resource(Kind.CONFIGURATION_SET, name, {"SendingEnabled": True}, arn=arn),
        Resource(Kind.EVENT_DESTINATION, EVENT_DESTINATION, destination, parent=name),
    ]


def _identities(options: Options, names: Names, place: Place) -> list[Resource]:
    """Forwarding by mail is switched off, for both topics are set; the headers carry our attempt id."""
    topics = {f"{kind}Topic": place.arn("sns", names.classic_topic(kind)) for kind in CLASSIC_KINDS}
    headers = {f"HeadersIn{kind}NotificationsEnabled": True for kind in CLASSIC_KINDS}
    attributes = {**topics, **headers, "ForwardingEnabled": False}
    return [Resource(Kind.IDENTITY, identity, attributes) for identity in options.identities]


def _subscriptions(options: Options, names: Names, place: Place, topic: str) -> list[Resource]:
    made = []
    if options.webhook_url is not None:
        made.append(_webhook(options.webhook_url, place.arn("sqs", names.dead_queue), topic))
    if options.queue:
        made.append(_subscription("sqs", place.arn("sqs", names.queue), topic, {}))
    return made


def _webhook(url: str, dead: str, topic: str) -> Resource:
    patience = {"DeliveryPolicy": DELIVERY_POLICY, "RedrivePolicy": {"deadLetterTargetArn": dead}}
    return _subscription(url.partition(":")[0], url, topic, patience)


def _subscription(protocol: str, endpoint: str, topic: str, more: Mapping[str, Any]) -> Resource:
    """Raw delivery would leave the signature out, by which alone feedback is trusted; a filter would hide reports."""
    attributes = {"Protocol": protocol, "Confirmed": True, "RawMessageDelivery": "false", "FilterPolicy": {}, **more}
    return Resource(Kind.SUBSCRIPTION, subscription_name(endpoint, topic), attributes, parent=topic, endpoint=endpoint)


def subscription_name(endpoint: str, topic_arn: str) -> str:
    """SNS shows endpoints without their passwords, so they are compared like that."""
    return f"of {masked_endpoint(endpoint)} to {topic_arn.rpartition(':')[2]}"
