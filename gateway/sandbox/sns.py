"""SNS, the query API (https://docs.aws.amazon.com/sns/latest/api/)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.sandbox import retry_policy, topic_policy
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import invalid_parameter, named
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.query import Entries, Parameters, Result
from gateway.sandbox.resources import Resources
from gateway.sandbox.sns_resources import Subscription, Topic

_PAGE: Final = 100
_TOPIC_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_MAX_MESSAGE: Final = 256 * 1024
_MAX_SUBJECT: Final = 100
_TOPIC_ATTRIBUTES: Final = frozenset(
    {"Policy", "SignatureVersion", "DeliveryPolicy", "DisplayName", "KmsMasterKeyId", "TracingConfig"}
)
_SUBSCRIPTION_ATTRIBUTES: Final = frozenset(
    {"RawMessageDelivery", "DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RedrivePolicy"}
)


class Sns:
    def __init__(self, config: SandboxConfig, resources: Resources, publisher: Publisher) -> None:
        self._config = config
        self._topics = resources.topics
        self._subscriptions = resources.subscriptions
        self._outbox = resources.outbox
        self._publisher = publisher
        self._actions: dict[str, Callable[[Parameters], Result | None]] = {
            "CreateTopic": self._create_topic,
            "ListTopics": self._list_topics,
            "GetTopicAttributes": self._get_topic_attributes,
            "SetTopicAttributes": self._set_topic_attributes,
            "DeleteTopic": self._delete_topic,
            "Publish": self._publish,
            "Subscribe": self._subscribe,
            "ConfirmSubscription": self._confirm_subscription,
            "GetSubscriptionAttributes": self._get_subscription_attributes,
            "SetSubscriptionAttributes": self._set_subscription_attributes,
            "ListSubscriptions": self._list_subscriptions,
            "ListSubscriptionsByTopic": self._list_subscriptions_by_topic,
        }

    def call(self, action: str, parameters: Parameters, *, signed: bool) -> Result | None:
        """InvalidAction for what this simulation does not know. `signed`: the request had credentials."""
        if action == "Unsubscribe":
            self._unsubscribe(parameters, signed=signed)
            return None
        handler = self._actions.get(action)
        if handler is None:
            raise named("InvalidAction", f"The simulated SNS does not know the action {action}.")
        return handler(parameters)

    # Topics

    def _create_topic(self, parameters: Parameters) -> Result:
        name = parameters.require("Name")
        if not _TOPIC_NAME.fullmatch(name):
            raise invalid_parameter("Topic Name")
        arn = f"arn:aws:sns:{self._config.region}:{self._config.account_id}:{name}"
        attributes = parameters.entries("Attributes")
        for attribute, value in attributes.items():
            _require_topic_attribute(attribute, value)
        self._topics.create(arn, {"Policy": topic_policy.default(arn, self._config.account_id)} | attributes)
        return {"TopicArn": arn}

    def _list_topics(self, parameters: Parameters) -> Result:
        return _page(parameters, "Topics", [{"TopicArn": arn} for arn in self._topics.arns()])

    def _get_topic_attributes(self, parameters: Parameters) -> Result:
        topic = self._topics.get(parameters.require("TopicArn"))
        confirmed = sum(subscription.confirmed for subscription in self._subscriptions.of(topic.arn))
        shown = {
            "TopicArn": topic.arn,
            "Owner": self._config.account_id,
            "DisplayName": "",
            "SubscriptionsConfirmed": str(confirmed),
            "SubscriptionsPending": str(len(self._subscriptions.of(topic.arn)) - confirmed),
            "SubscriptionsDeleted": "0",
            "EffectiveDeliveryPolicy": json.dumps({"http": {"defaultHealthyRetryPolicy": asdict(topic.retry_policy)}}),
        }
        return {"Attributes": Entries(shown | topic.attributes)}

    def _set_topic_attributes(self, parameters: Parameters) -> None:
        attribute, value = parameters.require("AttributeName"), parameters.get("AttributeValue") or ""
        _require_topic_attribute(attribute, value)
        self._topics.set_attribute(parameters.require("TopicArn"), attribute, value)

    def _delete_topic(self, parameters: Parameters) -> None:
        self._topics.delete(parameters.require("TopicArn"))

    def _publish(self, parameters: Parameters) -> Result:
        message = parameters.require("Message")
        if not message:
            raise invalid_parameter("Empty message")
        if len(message.encode()) > _MAX_MESSAGE:
            raise invalid_parameter("Message too long")
        if parameters.get("MessageStructure") == "json":
            message = _for_http(message)
        arn = parameters.get("TopicArn") or parameters.get("TargetArn")
        if arn is None:
            raise invalid_parameter("TopicArn or TargetArn Reason: no value for required parameter")
        attributes = {
            entry["Name"]: {"Type": entry.get("Value.DataType", "String"), "Value": entry.get("Value.StringValue", "")}
            for entry in parameters.structures("MessageAttributes.entry")
        }
        return {
            "MessageId": self._publisher.publish(
                arn, message, subject=_subject(parameters.get("Subject")), attributes=attributes or None
            )
        }

    # Subscriptions

    def _subscribe(self, parameters: Parameters) -> Result:
        """Subscribing again asks again, while it is not confirmed."""
        topic = self._topics.get(parameters.require("TopicArn"))
        protocol, endpoint = parameters.require("Protocol"), parameters.get("Endpoint") or ""
        _require_endpoint(protocol, endpoint)
        attributes = parameters.entries("Attributes")
        for attribute, value in attributes.items():
            _require_subscription_attribute(attribute, value)
        found = self._subscriptions.to_endpoint(topic.arn, endpoint)
        subscription = found or self._subscriptions.create(topic.arn, protocol, endpoint, attributes)
        if subscription.confirmed:
            return {"SubscriptionArn": subscription.arn}
        self._publisher.ask_confirmation(subscription)
        wants_arn = parameters.get("ReturnSubscriptionArn") == "true"
        return {"SubscriptionArn": subscription.arn if wants_arn else "pending confirmation"}

    def _confirm_subscription(self, parameters: Parameters) -> Result:
        """Confirming twice is harmless. A token here does not expire."""
        topic = self._topics.get(parameters.require("TopicArn"))
        subscription = self._subscriptions.by_token(topic.arn, parameters.require("Token"))
        if subscription is None:
            raise invalid_parameter("Token")
        authenticated = (parameters.get("AuthenticateOnUnsubscribe") or "").lower() == "true"
        self._subscriptions.confirm(subscription.arn, authenticated_unsubscribe=authenticated)
        self._outbox.confirmed(subscription.arn)
        self._publisher.wake()
        return {"SubscriptionArn": subscription.arn}

    def _unsubscribe(self, parameters: Parameters, *, signed: bool) -> None:
        """Anybody who has the link may, unless the confirmation asked for AuthenticateOnUnsubscribe."""
        subscription = self._subscriptions.find(parameters.require("SubscriptionArn"))
        if subscription is None:
            return  # As at AWS: done already.
        if subscription.authenticated_unsubscribe and not signed:
            raise named("AuthorizationError", "This subscription can only be ended by an authenticated request.")
        self._subscriptions.delete(subscription.arn)
        self._outbox.withdraw(subscription.arn)
        if not signed:
            self._publisher.tell_unsubscribed(subscription)

    def _get_subscription_attributes(self, parameters: Parameters) -> Result:
        subscription = self._subscriptions.get(parameters.require("SubscriptionArn"))
        shown = {
            "SubscriptionArn": subscription.arn,
            "TopicArn": subscription.topic_arn,
            "Protocol": subscription.protocol,
            "Endpoint": subscription.endpoint,
            "Owner": self._config.account_id,
            "PendingConfirmation": "false" if subscription.confirmed else "true",
            "ConfirmationWasAuthenticated": "true" if subscription.authenticated_unsubscribe else "false",
            "RawMessageDelivery": "false",
            "EffectiveDeliveryPolicy": self._topics.retry_policy(subscription).to_json(),
        }
        return {"Attributes": Entries(shown | subscription.attributes)}

    def _set_subscription_attributes(self, parameters: Parameters) -> None:
        attribute, value = parameters.require("AttributeName"), parameters.get("AttributeValue") or ""
        _require_subscription_attribute(attribute, value)
        self._subscriptions.set_attribute(parameters.require("SubscriptionArn"), attribute, value)

    def _list_subscriptions(self, parameters: Parameters) -> Result:
        return self._listed(parameters, self._subscriptions.all())

    def _list_subscriptions_by_topic(self, parameters: Parameters) -> Result:
        topic: Topic = self._topics.get(parameters.require("TopicArn"))
        return self._listed(parameters, self._subscriptions.of(topic.arn))

    def _listed(self, parameters: Parameters, subscriptions: Sequence[Subscription]) -> Result:
        shown = [
            {
                "SubscriptionArn": subscription.arn if subscription.confirmed else "PendingConfirmation",
                "Owner": self._config.account_id,
                "Protocol": subscription.protocol,
                "Endpoint": subscription.endpoint,
                "TopicArn": subscription.topic_arn,
            }
            for subscription in subscriptions
        ]
        return _page(parameters, "Subscriptions", shown)


def _page(parameters: Parameters, key: str, items: Sequence[Any]) -> Result:
    token = parameters.get("NextToken") or "0"
    if not token.isdecimal():
        raise invalid_parameter("NextToken")
    start = int(token)
    more = {"NextToken": str(start + _PAGE)} if start + _PAGE < len(items) else {}
    return {key: items[start : start + _PAGE]} | more


def _subject(subject: str | None) -> str | None:
    if subject is None:
        return None
    if not subject or len(subject) > _MAX_SUBJECT or not subject.isascii() or not subject.isprintable():
        raise invalid_parameter("Subject")
    return subject


def _for_http(message: str) -> str:
    """`MessageStructure=json`: a text for each protocol, with a default."""
    try:
        texts = json.loads(message)
    except ValueError as error:
        raise invalid_parameter("Message Structure - JSON message body failed to parse") from error
    if not isinstance(texts, dict) or not isinstance(texts.get("default"), str):
        raise invalid_parameter("Message Structure - No default entry in JSON message body")
    return str(texts.get("http", texts["default"]))


def _require_endpoint(protocol: str, endpoint: str) -> None:
    if protocol not in {"http", "https"}:
        raise invalid_parameter(f"Does not support this protocol string: {protocol} (the sandbox has http and https)")
    parts = urlsplit(endpoint)
    if parts.scheme != protocol or not parts.hostname:
        raise invalid_parameter(f"Endpoint must match the specified protocol {protocol}")


def _require_topic_attribute(attribute: str, value: str) -> None:
    if attribute not in _TOPIC_ATTRIBUTES:
        raise invalid_parameter(f"AttributeName {attribute}")
    if attribute == "SignatureVersion" and value not in {"1", "2"}:
        raise invalid_parameter("SignatureVersion is 1 or 2")
    if attribute == "Policy":
        _require_json(attribute, value)
    if attribute == "DeliveryPolicy":
        _require_delivery_policy(value)


def _require_subscription_attribute(attribute: str, value: str) -> None:
    if attribute not in _SUBSCRIPTION_ATTRIBUTES:
        raise invalid_parameter(f"AttributeName {attribute}")
    if attribute == "RawMessageDelivery" and value.lower() not in {"true", "false"}:
        raise invalid_parameter("Attributes Reason: RawMessageDelivery: Invalid value")
    if attribute == "DeliveryPolicy":
        _require_delivery_policy(value)


def _require_json(attribute: str, value: str) -> None:
    try:
        given = json.loads(value)
    except ValueError as error:
        raise invalid_parameter(f"{attribute} is not JSON") from error
    if not isinstance(given, dict):
        raise invalid_parameter(f"{attribute} is not a JSON object")


def _require_delivery_policy(value: str) -> None:
    if not value:
        return  # An empty value takes the policy away.
    try:
        retry_policy.parse(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid_parameter(str(error)) from error
