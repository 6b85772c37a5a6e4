"""The topics and their tags, as the SNS API has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateway.sandbox import sns_checks, topic_policy
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import invalid_parameter, named
from gateway.sandbox.query import Entries, Parameters, Result
from gateway.sandbox.resources import Resources

_PAGE: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")


class TopicApi:
    def __init__(self, config: SandboxConfig, resources: Resources) -> None:
        self._config = config
        self._topics = resources.topics
        self._subscriptions = resources.subscriptions
        self._tags = resources.tags
        self._database = resources.database

    def actions(self) -> dict[str, Callable[[Parameters], Result | None]]:
        return {
            "CreateTopic": self._create,
            "ListTopics": self._list,
            "GetTopicAttributes": self._get_attributes,
            "SetTopicAttributes": self._set_attributes,
            "DeleteTopic": self._delete,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def _create(self, parameters: Parameters) -> Result:
        name = parameters.require("Name")
        if not _NAME.fullmatch(name):
            raise invalid_parameter("Topic Name")
        attributes, tags = parameters.entries("Attributes"), _tags(parameters)
        for attribute, value in attributes.items():
            sns_checks.require_topic_attribute(attribute, value)
        arn = self._config.sns_arn(name)
        with self._database.transaction():
            if self._topics.exists(arn):
                sns_checks.require_same("Topic", "Attributes", self._topics.get(arn).attributes, attributes)
                sns_checks.require_same("Topic", "Tags", self._tags.of(arn), tags)
            else:
                default = {"Policy": topic_policy.default(arn, self._config.account_id)}
                self._topics.create(arn, default | attributes)
                self._tags.add(arn, tags)
        return {"TopicArn": arn}

    def _list(self, parameters: Parameters) -> Result:
        return page(parameters, "Topics", [{"TopicArn": arn} for arn in self._topics.arns()])

    def _get_attributes(self, parameters: Parameters) -> Result:
        topic = self._topics.get(parameters.require("TopicArn"))
        subscriptions = self._subscriptions.of(topic.arn)
        confirmed = sum(subscription.confirmed for subscription in subscriptions)
        shown = {
            "TopicArn": topic.arn,
            "Owner": self._config.account_id,
            "DisplayName": "",
            "SubscriptionsConfirmed": str(confirmed),
            "SubscriptionsPending": str(len(subscriptions) - confirmed),
            "SubscriptionsDeleted": str(self._subscriptions.deleted(topic.arn)),
            "EffectiveDeliveryPolicy": json.dumps({"http": {"defaultHealthyRetryPolicy": asdict(topic.retry_policy)}}),
        }
        return {"Attributes": Entries(shown | topic.attributes)}

    def _set_attributes(self, parameters: Parameters) -> None:
        attribute, value = parameters.require("AttributeName"), parameters.get("AttributeValue") or ""
        sns_checks.require_topic_attribute(attribute, value)
        self._topics.set_attribute(parameters.require("TopicArn"), attribute, value)

    def _delete(self, parameters: Parameters) -> None:
        arn = parameters.require("TopicArn")
        with self._database.transaction():
            self._topics.delete(arn)
            self._tags.clear(arn)

    def _tag(self, parameters: Parameters) -> Result:
        self._tags.add(self._tagged(parameters), _tags(parameters))
        return {}

    def _untag(self, parameters: Parameters) -> Result:
        self._tags.remove(self._tagged(parameters), parameters.members("TagKeys"))
        return {}

    def _list_tags(self, parameters: Parameters) -> Result:
        tags = self._tags.of(self._tagged(parameters))
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _tagged(self, parameters: Parameters) -> str:
        arn = parameters.require("ResourceArn")
        if not self._topics.exists(arn):
            raise named("ResourceNotFound", "Resource does not exist")
        return arn


def _tags(parameters: Parameters) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in parameters.structures("Tags") if "Key" in tag}


def page(parameters: Parameters, key: str, items: Sequence[Any]) -> Result:
    """One page of a list, with the place to go on from while there is more."""
    token = parameters.get("NextToken") or "0"
    if not token.isdecimal():
        raise invalid_parameter("NextToken")
    start = int(token)
    more = {"NextToken": str(start + _PAGE)} if start + _PAGE < len(items) else {}
    return {key: items[start : start + _PAGE]} | more
