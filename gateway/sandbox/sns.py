"""SNS, the query API (https://docs.aws.amazon.com/sns/latest/api/)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from gateway.sandbox import sns_checks
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import invalid_parameter, named
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.query import Parameters, Result
from gateway.sandbox.resources import Resources
from gateway.sandbox.sns_subscription_api import SubscriptionApi
from gateway.sandbox.sns_topic_api import TopicApi

_MAX_MESSAGE: Final = 256 * 1024
_PROTOCOLS: Final = ("http", "https", "sqs")


class Sns:
    def __init__(self, config: SandboxConfig, resources: Resources, publisher: Publisher) -> None:
        self._publisher = publisher
        self._subscriptions = SubscriptionApi(config, resources, publisher)
        self._actions: dict[str, Callable[[Parameters], Result | None]] = {
            **TopicApi(config, resources).actions(),
            **self._subscriptions.actions(),
            "Publish": self._publish,
        }

    def call(self, action: str, parameters: Parameters, *, signed: bool) -> Result | None:
        """InvalidAction for what this simulation does not know. `signed`: the request had credentials."""
        if action == "Unsubscribe":
            self._subscriptions.unsubscribe(parameters, signed=signed)
            return None
        handler = self._actions.get(action)
        if handler is None:
            raise named("InvalidAction", f"The simulated SNS does not know the action {action}.")
        return handler(parameters)

    def _publish(self, parameters: Parameters) -> Result:
        message = parameters.require("Message")
        if not message:
            raise invalid_parameter("Empty message")
        if len(message.encode()) > _MAX_MESSAGE:
            raise invalid_parameter("Message too long")
        structured = parameters.get("MessageStructure") == "json"
        arn = parameters.get("TopicArn") or parameters.get("TargetArn")
        if arn is None:
            raise invalid_parameter("TopicArn or TargetArn Reason: no value for required parameter")
        published = self._publisher.publish(
            arn,
            _texts(message) if structured else message,
            subject=sns_checks.subject(parameters.get("Subject")),
            attributes=_attributes(parameters) or None,
        )
        return {"MessageId": published}


def _attributes(parameters: Parameters) -> dict[str, Any]:
    return {
        entry["Name"]: {
            "Type": entry.get("Value.DataType", "String"),
            "Value": entry.get("Value.StringValue") or entry.get("Value.BinaryValue", ""),
        }
        for entry in parameters.structures("MessageAttributes.entry")
    }


def _texts(message: str) -> dict[str, str]:
    """`MessageStructure=json`: a text for each protocol, with a default."""
    try:
        texts = json.loads(message)
    except ValueError as error:
        raise invalid_parameter("Message Structure - JSON message body failed to parse") from error
    if not isinstance(texts, dict) or not isinstance(texts.get("default"), str):
        raise invalid_parameter("Message Structure - No default entry in JSON message body")
    return {"default": texts["default"], **{key: str(texts[key]) for key in _PROTOCOLS if key in texts}}
