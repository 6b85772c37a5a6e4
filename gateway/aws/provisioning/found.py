"""What is there already, read by the names of what is wanted, with tags and every page of what hangs on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.plan import Found, key_of
from gateway.aws.provisioning.wanted import Kind, Resource, subscription_name
from gateway.aws.session import Aws, Service

_JSON: Final = frozenset({"DeliveryPolicy", "FilterPolicy", "Policy", "RedrivePolicy"})
_NO_ARN: Final = ("PendingConfirmation", "Deleted")
_IDENTITIES_AT_ONCE: Final = 100


def caller(aws: Aws) -> tuple[Place, str]:
    """The account, region and partition that these credentials work in, and the ARN of who they are."""
    answer = aws.call("sts", "GetCallerIdentity")
    return Place(str(answer["Account"]), aws.region, aws.partition), str(answer.get("Arn", ""))


@dataclass(frozen=True, slots=True)
class Identity:
    """A domain or an address, and whether it is verified for sending."""

    name: str
    may_send: bool


class Reader:
    """Asks AWS about single things; None for what does not exist, AwsCallError for what cannot be known."""

    def __init__(self, aws: Aws, place: Place) -> None:
        self._aws = aws
        self._place = place

    def look(self, wanted: Iterable[Resource]) -> dict[tuple[Kind, str, str], Found]:
        """All that is there of what is wanted, but for the trusted topics, which are not AWS's."""
        resources = list(wanted)
        found = [
            *filter(None, (self._one(resource) for resource in resources if resource.has_tag)),
            *self._destinations(resources),
            *self.notifications([each.name for each in resources if each.kind is Kind.IDENTITY]),
        ]
        for topic in (each for each in found if each.kind is Kind.TOPIC):
            found = [*found, *self.subscriptions(topic.arn)]
        return {key_of(each): each for each in found}

    def _one(self, resource: Resource) -> Found | None:
        read = {Kind.TOPIC: self.topic, Kind.QUEUE: self.queue, Kind.CONFIGURATION_SET: self.configuration_set}
        return read[resource.kind](resource.name)

    def _destinations(self, wanted: Sequence[Resource]) -> list[Found]:
        names = {each.parent for each in wanted if each.kind is Kind.EVENT_DESTINATION}
        return [found for name in sorted(names) for found in self.event_destinations(name)]

    def topic(self, name: str) -> Found | None:
        arn = self._place.arn("sns", name)
        answer = self._unless_missing("sns", "GetTopicAttributes", TopicArn=arn)
        if answer is None:
            return None
        return Found(Kind.TOPIC, name, _parsed(answer.get("Attributes", {})), self._sns_tags(arn), arn=arn)

    def queue(self, name: str) -> Found | None:
        answer = self._unless_missing("sqs", "GetQueueUrl", QueueName=name)
        if answer is None:
            return None
        url = str(answer["QueueUrl"])
        told = self._unless_missing("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
        if told is None:  # for a minute after its end SQS may still know the name
            return None
        attributes = _parsed(told.get("Attributes", {}))
        arn = str(attributes.get("QueueArn", self._place.arn("sqs", name)))
        return Found(Kind.QUEUE, name, attributes, self._queue_tags(url), arn=arn, url=url)

    def configuration_set(self, name: str) -> Found | None:
        answer = self._unless_missing("sesv2", "GetConfigurationSet", ConfigurationSetName=name)
        if answer is None:
            return None
        sending = (answer.get("SendingOptions") or {}).get("SendingEnabled", True)
        arn = self._place.arn("ses", f"configuration-set/{name}")
        tags = _tags(answer["Tags"]) if "Tags" in answer else self._ses_tags(arn)
        return Found(Kind.CONFIGURATION_SET, name, {"SendingEnabled": sending}, tags, arn=arn)

    def event_destinations(self, configuration_set: str) -> list[Found]:
        """All of a set, also those of others; none when there is no such set."""
        answer = self._unless_missing(
            "sesv2", "GetConfigurationSetEventDestinations", ConfigurationSetName=configuration_set
        )
        return [_destination(given, configuration_set) for given in (answer or {}).get("EventDestinations", [])]

    def subscriptions(self, topic_arn: str) -> list[Found]:
        """All of a topic, also those of others, but those that were ended and are only listed still."""
        listed = self._aws.every("sns", "ListSubscriptionsByTopic", "Subscriptions", TopicArn=topic_arn)
        return [self._subscription(given) for given in listed if given.get("SubscriptionArn") != "Deleted"]

    def _subscription(self, given: Mapping[str, Any]) -> Found:
        arn, topic, endpoint = str(given["SubscriptionArn"]), str(given["TopicArn"]), str(given["Endpoint"])
        name = subscription_name(endpoint, topic)
        shown = {"Protocol": given["Protocol"], "Endpoint": endpoint}
        answer = None
        if arn not in _NO_ARN:
            answer = self._unless_missing("sns", "GetSubscriptionAttributes", SubscriptionArn=arn)
        if answer is None:
            return Found(Kind.SUBSCRIPTION, name, {**shown, "Confirmed": False}, parent=topic)
        attributes = _parsed(answer.get("Attributes", {}))
        confirmed = str(attributes.get("PendingConfirmation", "false")).lower() != "true"
        raw = str(attributes.get("RawMessageDelivery", "false")).lower()
        told = {**attributes, **shown, "Confirmed": confirmed, "RawMessageDelivery": raw}
        return Found(Kind.SUBSCRIPTION, name, told, arn=arn, parent=topic)

    def notifications(self, identities: Sequence[str]) -> Iterator[Found]:
        """How identities report by the classic way; SES tells nothing of those that the account does not have."""
        for start in range(0, len(identities), _IDENTITIES_AT_ONCE):
            names = list(identities[start : start + _IDENTITIES_AT_ONCE])
            answer = self._unless_missing("ses", "GetIdentityNotificationAttributes", Identities=names)
            for name, attributes in (answer or {}).get("NotificationAttributes", {}).items():
                yield Found(Kind.IDENTITY, name, attributes)

    def identities(self) -> tuple[Identity, ...]:
        """All of the account; AwsCallError when they cannot be listed."""
        listed = self._aws.every("sesv2", "ListEmailIdentities", "EmailIdentities")
        return tuple(Identity(str(one["IdentityName"]), bool(one.get("SendingEnabled"))) for one in listed)

    def identities_if_told(self) -> tuple[Identity, ...]:
        """The same; none where an emulator of AWS does not list any."""
        try:
            return self.identities()
        except AwsCallError as error:
            if error.is_unknown_call:
                return ()
            raise

    def _sns_tags(self, arn: str) -> dict[str, str] | None:
        answer = self._unless_missing("sns", "ListTagsForResource", ResourceArn=arn)
        return None if answer is None else _tags(answer.get("Tags", []))

    def _ses_tags(self, arn: str) -> dict[str, str] | None:
        answer = self._unless_missing("sesv2", "ListTagsForResource", ResourceArn=arn)
        return None if answer is None else _tags(answer.get("Tags", []))

    def _queue_tags(self, url: str) -> dict[str, str] | None:
        answer = self._unless_missing("sqs", "ListQueueTags", QueueUrl=url)
        return None if answer is None else dict(answer.get("Tags") or {})

    def _unless_missing(self, service: Service, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """None for what is not there, and for what an emulator of AWS does not know: making it will say so."""
        try:
            return self._aws.call(service, operation, **parameters)
        except AwsCallError as error:
            if error.is_missing or error.is_unknown_call:
                return None
            raise


def _destination(given: Mapping[str, Any], configuration_set: str) -> Found:
    attributes = {
        "Enabled": bool(given.get("Enabled")),
        "MatchingEventTypes": sorted(given.get("MatchingEventTypes") or []),
        "TopicArn": (given.get("SnsDestination") or {}).get("TopicArn"),
    }
    return Found(Kind.EVENT_DESTINATION, str(given["Name"]), attributes, parent=configuration_set)


def _parsed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(text) if name in _JSON else text for name, text in attributes.items()}


def _value(text: Any) -> Any:
    """A policy as a JSON value; what is none stays as it is, to be shown and replaced."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _tags(listed: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in listed}
