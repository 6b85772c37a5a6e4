"""Taking away what provision made, and nothing else: only what carries our tag, and what hangs on that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.found import Reader
from gateway.aws.provisioning.names import CLASSIC_KINDS, EVENT_DESTINATION, TAG, Names
from gateway.aws.provisioning.plan import Found
from gateway.aws.provisioning.wanted import Kind
from gateway.aws.session import Aws
from gateway.sns_endpoints import masked_endpoint


@dataclass(frozen=True, slots=True)
class Inventory:
    """What there is under the names of a scope, of both modes, and what hangs on it."""

    topics: tuple[Found, ...] = ()
    queues: tuple[Found, ...] = ()
    configuration_set: Found | None = None
    destinations: tuple[Found, ...] = ()
    subscriptions: tuple[Found, ...] = ()
    identities: tuple[Found, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing to take away; `note` is what is lost with it."""

    found: Found
    note: str = ""

    @property
    def title(self) -> str:
        return f"{self.found.kind} {self.found.name}"


@dataclass(frozen=True, slots=True)
class Farewell:
    """What is taken away, in this order, and what stays and why; our topics by ARN, and others' that have our names."""

    removals: tuple[Removal, ...]
    kept: tuple[str, ...]
    topics: tuple[str, ...]
    strange_topics: tuple[str, ...]


def take_inventory(reader: Reader, names: Names) -> Inventory:
    """Read it; AwsCallError when it cannot be read."""
    topics = tuple(filter(None, map(reader.topic, names.topics)))
    queues = tuple(filter(None, map(reader.queue, (names.queue, names.dead_queue))))
    own = [topic for topic in topics if _is_ours(topic, names.scope)]
    return Inventory(
        topics,
        queues,
        reader.configuration_set(names.configuration_set),
        tuple(reader.event_destinations(names.configuration_set)),
        tuple(subscription for topic in own for subscription in reader.subscriptions(topic.arn)),
        tuple(_reporting_to(reader, [topic.arn for topic in own])),
    )


def _reporting_to(reader: Reader, topics: Sequence[str]) -> Iterable[Found]:
    if not topics:
        return ()
    return [
        one
        for one in reader.notifications([each.name for each in reader.identities_if_told()])
        if _topics_of(one) & set(topics)
    ]


def farewell(inventory: Inventory, names: Names, *, webhook_url: str | None = None) -> Farewell:
    """What would be removed. Pure.

    A subscription cannot carry a tag: ours are those of our queue, those whose failures go to our dead-letter queue,
    and the one to `webhook_url` if that is given.
    """
    topics, kept = _parted(inventory.topics, names.scope)
    queues, kept_queues = _parted(inventory.queues, names.scope)
    subscriptions, strange = _subscriptions(inventory, names, webhook_url)
    busy = {subscription.parent for subscription in strange}
    sets, kept_sets = _sets(inventory, names.scope)
    left_topics = [f"{_title(topic)}: others have subscribed to it" for topic in topics if topic.arn in busy]
    removals = (
        *(Removal(subscription) for subscription in subscriptions),
        *(Removal(identity, "it reports by mail again") for identity in inventory.identities),
        *sets,
        *(Removal(topic) for topic in topics if topic.arn not in busy),
        *(Removal(queue, _contents(queue)) for queue in queues),
    )
    told = [f"{_title(one)}: it is not known to be ours" for one in strange]
    ours = tuple(topic.arn for topic in topics)
    others = tuple(topic.arn for topic in inventory.topics if topic.arn not in ours)
    return Farewell(removals, (*kept, *kept_queues, *kept_sets, *told, *left_topics), ours, others)


def _parted(found: Iterable[Found], scope: str) -> tuple[list[Found], list[str]]:
    """Ours, and what to say of the others."""
    listed = list(found)
    ours = [one for one in listed if _is_ours(one, scope)]
    return ours, [f"{_title(one)}: {_why_not_ours(one)}" for one in listed if one not in ours]


def _is_ours(found: Found, scope: str) -> bool:
    return (found.tags or {}).get(TAG) == scope


def _why_not_ours(found: Found) -> str:
    if found.tags is None:
        return "nothing here keeps tags, so it cannot be told whose it is"
    other = found.tags.get(TAG)
    return f"it belongs to {other}" if other else f"it does not carry our tag ({TAG})"


def _subscriptions(inventory: Inventory, names: Names, webhook_url: str | None) -> tuple[list[Found], list[Found]]:
    """Ours and others', of those that are confirmed: one that is pending ends with its topic, or by itself."""
    ours: list[Found] = []
    strange: list[Found] = []
    for one in inventory.subscriptions:
        if one.attributes.get("Confirmed") and one.arn:
            (ours if _is_our_subscription(one, names, webhook_url) else strange).append(one)
    return ours, strange


def _is_our_subscription(found: Found, names: Names, webhook_url: str | None) -> bool:
    """By what it delivers to. The queues are known by their names, for they may be gone already."""
    endpoint, redrive = str(found.attributes.get("Endpoint")), found.attributes.get("RedrivePolicy")
    target = redrive.get("deadLetterTargetArn") if isinstance(redrive, dict) else None
    queues = {str(arn).rpartition(":")[2] for arn in (endpoint, target) if ":sqs:" in str(arn)}
    is_named = webhook_url is not None and masked_endpoint(endpoint) == masked_endpoint(webhook_url)
    return is_named or bool(queues & {names.queue, names.dead_queue})


def _sets(inventory: Inventory, scope: str) -> tuple[list[Removal], list[str]]:
    """The set goes only if nothing of others is in it."""
    found = inventory.configuration_set
    if found is None:
        return [], []
    if not _is_ours(found, scope):
        return [], [f"{_title(found)}: {_why_not_ours(found)}"]
    own = [Removal(one) for one in inventory.destinations if one.name == EVENT_DESTINATION]
    others = [one.name for one in inventory.destinations if one.name != EVENT_DESTINATION]
    if others:
        return own, [f"{_title(found)}: others have event destinations in it ({', '.join(others)})"]
    return [*own, Removal(found, "mail that still names it is refused by SES")], []


def _contents(queue: Found) -> str:
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    count = sum(int(queue.attributes.get(name) or 0) for name in names)
    return f"{count} {'message is' if count == 1 else 'messages are'} lost with it" if count else ""


def _topics_of(identity: Found) -> set[Any]:
    return {identity.attributes.get(f"{kind}Topic") for kind in CLASSIC_KINDS} - {None, ""}


def _title(found: Found) -> str:
    return f"{found.kind} {found.name}"


class Remover:
    """The calls behind each removal. What is gone already is no failure, so a run that broke off is run again."""

    def __init__(self, aws: Aws, topics: Iterable[str]) -> None:
        self._aws = aws
        self._topics = frozenset(topics)

    def remove(self, removal: Removal) -> None:
        """AwsCallError when it cannot be removed."""
        try:
            _REMOVE[removal.found.kind](self, removal.found)
        except AwsCallError as error:
            if not error.is_missing:
                raise

    def topic(self, found: Found) -> None:
        self._aws.call("sns", "DeleteTopic", TopicArn=found.arn)

    def queue(self, found: Found) -> None:
        self._aws.call("sqs", "DeleteQueue", QueueUrl=found.url)

    def configuration_set(self, found: Found) -> None:
        self._aws.call("sesv2", "DeleteConfigurationSet", ConfigurationSetName=found.name)

    def event_destination(self, found: Found) -> None:
        self._aws.call(
            "sesv2",
            "DeleteConfigurationSetEventDestination",
            ConfigurationSetName=found.parent,
            EventDestinationName=found.name,
        )

    def subscription(self, found: Found) -> None:
        self._aws.call("sns", "Unsubscribe", SubscriptionArn=found.arn)

    def identity(self, found: Found) -> None:
        """Forwarding by mail begins again before its topics are taken away: no bounce goes unseen between the two."""
        self._aws.call("ses", "SetIdentityFeedbackForwardingEnabled", Identity=found.name, ForwardingEnabled=True)
        for kind in CLASSIC_KINDS:
            if found.attributes.get(f"{kind}Topic") in self._topics:
                self._aws.call("ses", "SetIdentityNotificationTopic", Identity=found.name, NotificationType=kind)


_REMOVE: Final[Mapping[Kind, Any]] = {
    Kind.TOPIC: Remover.topic,
    Kind.QUEUE: Remover.queue,
    Kind.CONFIGURATION_SET: Remover.configuration_set,
    Kind.EVENT_DESTINATION: Remover.event_destination,
    Kind.SUBSCRIPTION: Remover.subscription,
    Kind.IDENTITY: Remover.identity,
}
