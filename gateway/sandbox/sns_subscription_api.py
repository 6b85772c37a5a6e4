"""Subscriptions, as the SNS API has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.sandbox import sns_checks
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import invalid_parameter, named
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.query import Entries, Parameters, Result
from gateway.sandbox.resources import Resources
from gateway.sandbox.sns_resources import Subscription
from gateway.sandbox.sns_topic_api import page
from gateway.sns_endpoints import masked_endpoint


class SubscriptionApi:
    def __init__(self, config: SandboxConfig, resources: Resources, publisher: Publisher) -> None:
        self._config = config
        self._topics = resources.topics
        self._subscriptions = resources.subscriptions
        self._outbox = resources.outbox
        self._database = resources.database
        self._publisher = publisher

    def actions(self) -> dict[str, Callable[[Parameters], Result | None]]:
        return {
            "Subscribe": self._subscribe,
            "ConfirmSubscription": self._confirm,
            "GetSubscriptionAttributes": self._get_attributes,
            "SetSubscriptionAttributes": self._set_attributes,
            "ListSubscriptions": self._list,
            "ListSubscriptionsByTopic": self._list_by_topic,
        }

    def _subscribe(self, parameters: Parameters) -> Result:
        """Subscribing again asks again, while it is not confirmed. A queue of the account needs no confirmation."""
        topic = self._topics.get(parameters.require("TopicArn"))
        protocol, endpoint = parameters.require("Protocol"), parameters.get("Endpoint") or ""
        sns_checks.require_endpoint(self._config, protocol, endpoint)
        attributes = parameters.entries("Attributes")
        for attribute, value in attributes.items():
            sns_checks.require_subscription_attribute(self._config, attribute, value)
        with self._database.transaction():
            subscription = self._made(topic.arn, protocol, endpoint, attributes)
        if subscription.confirmed:
            return {"SubscriptionArn": subscription.arn}
        self._publisher.ask_confirmation(subscription)
        wants_arn = parameters.get("ReturnSubscriptionArn") == "true"
        return {"SubscriptionArn": subscription.arn if wants_arn else "pending confirmation"}

    def _made(self, topic_arn: str, protocol: str, endpoint: str, attributes: dict[str, str]) -> Subscription:
        found = self._subscriptions.to_endpoint(topic_arn, endpoint)
        if found is not None:
            sns_checks.require_same("Subscription", "Attributes", found.attributes, attributes)
            return found
        kept = {name: value for name, value in attributes.items() if value}
        made = self._subscriptions.create(topic_arn, protocol, endpoint, kept)
        if protocol == "sqs":
            self._subscriptions.confirm(made.arn, authenticated_unsubscribe=True)
        return self._subscriptions.get(made.arn)

    def _confirm(self, parameters: Parameters) -> Result:
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

    def unsubscribe(self, parameters: Parameters, *, signed: bool) -> None:
        """Anybody who has the link may, unless the confirmation asked for AuthenticateOnUnsubscribe.

        What waits for its confirmation cannot be ended: SNS forgets it by itself, and with its topic.
        """
        arn = parameters.require("SubscriptionArn")
        if not arn.startswith("arn:"):
            raise invalid_parameter("SubscriptionArn Reason: An ARN must have at least 6 elements, not 1")
        subscription = self._subscriptions.find(arn)
        if subscription is None:
            return  # As at AWS: done already.
        if not subscription.confirmed:
            raise invalid_parameter("SubscriptionArn Reason: The subscription is pending confirmation")
        if subscription.authenticated_unsubscribe and not signed:
            raise named("AuthorizationError", "This subscription can only be ended by an authenticated request.")
        with self._database.transaction():
            self._subscriptions.unsubscribe(subscription)
            self._outbox.withdraw(subscription.arn)
            if not signed:
                self._publisher.tell_unsubscribed(subscription)

    def _get_attributes(self, parameters: Parameters) -> Result:
        subscription = self._subscriptions.get(parameters.require("SubscriptionArn"))
        shown = {
            "SubscriptionArn": subscription.arn,
            "TopicArn": subscription.topic_arn,
            "Protocol": subscription.protocol,
            "Endpoint": masked_endpoint(subscription.endpoint),
            "Owner": self._config.account_id,
            "PendingConfirmation": "false" if subscription.confirmed else "true",
            "ConfirmationWasAuthenticated": "true" if subscription.authenticated_unsubscribe else "false",
            "RawMessageDelivery": "false",
        }
        if subscription.protocol != "sqs":
            shown["EffectiveDeliveryPolicy"] = self._topics.retry_policy(subscription).to_json()
        return {"Attributes": Entries(shown | subscription.attributes)}

    def _set_attributes(self, parameters: Parameters) -> None:
        """An empty value takes the attribute away."""
        attribute, value = parameters.require("AttributeName"), parameters.get("AttributeValue") or ""
        sns_checks.require_subscription_attribute(self._config, attribute, value)
        self._subscriptions.set_attribute(parameters.require("SubscriptionArn"), attribute, value)

    def _list(self, parameters: Parameters) -> Result:
        return self._listed(parameters, self._subscriptions.all())

    def _list_by_topic(self, parameters: Parameters) -> Result:
        return self._listed(parameters, self._subscriptions.of(self._topics.get(parameters.require("TopicArn")).arn))

    def _listed(self, parameters: Parameters, subscriptions: Sequence[Subscription]) -> Result:
        shown = [
            {
                "SubscriptionArn": subscription.arn if subscription.confirmed else "PendingConfirmation",
                "Owner": self._config.account_id,
                "Protocol": subscription.protocol,
                "Endpoint": masked_endpoint(subscription.endpoint),
                "TopicArn": subscription.topic_arn,
            }
            for subscription in subscriptions
        ]
        return page(parameters, "Subscriptions", shown)
