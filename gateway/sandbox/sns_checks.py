"""What SNS refuses, in its own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.sandbox import retry_policy
from gateway.sandbox.carriers import QUEUE_PREFIX
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import invalid_parameter

_MAX_SUBJECT: Final = 100
_TOPIC_ATTRIBUTES: Final = frozenset(
    {"Policy", "SignatureVersion", "DeliveryPolicy", "DisplayName", "KmsMasterKeyId", "TracingConfig"}
)
_SUBSCRIPTION_ATTRIBUTES: Final = frozenset(
    {"RawMessageDelivery", "DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RedrivePolicy"}
)
_FIFO: Final = ".fifo"


def subject(given: str | None) -> str | None:
    if given is None:
        return None
    if not given or len(given) > _MAX_SUBJECT or not given.isascii() or not given.isprintable():
        raise invalid_parameter("Subject")
    return given


def require_endpoint(config: SandboxConfig, protocol: str, endpoint: str) -> None:
    if protocol == "sqs":
        require_queue(config, "Endpoint", endpoint)
        return
    if protocol not in {"http", "https"}:
        raise invalid_parameter(
            f"Does not support this protocol string: {protocol} (the sandbox has http, https and sqs)"
        )
    if not _is_url(protocol, endpoint):
        raise invalid_parameter(f"Endpoint must match the specified protocol {protocol}")


def _is_url(protocol: str, endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        _ = parts.port  # ValueError when it is none
    except ValueError:
        return False
    return parts.scheme == protocol and bool(parts.hostname)


def require_queue(config: SandboxConfig, name: str, arn: str) -> None:
    """A standard queue of this account and region. Whether it is there is found out by the first delivery."""
    if not arn.startswith(QUEUE_PREFIX):
        raise invalid_parameter(f"{name} Reason: {arn} is not the ARN of an SQS queue")
    if not arn.startswith(config.queue_arn("")):
        raise invalid_parameter(f"{name} Reason: the sandbox has queues of {config.queue_arn('*')} only")
    if arn.endswith(_FIFO):
        raise invalid_parameter(f"{name} Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")


def require_topic_attribute(attribute: str, value: str) -> None:
    if attribute not in _TOPIC_ATTRIBUTES:
        raise invalid_parameter(f"AttributeName {attribute}")
    if attribute == "SignatureVersion" and value not in {"1", "2"}:
        raise invalid_parameter("SignatureVersion is 1 or 2")
    if attribute == "Policy":
        _document(attribute, value)
    if attribute == "DeliveryPolicy":
        _require_delivery_policy(value)


def require_subscription_attribute(config: SandboxConfig, attribute: str, value: str) -> None:
    if attribute not in _SUBSCRIPTION_ATTRIBUTES:
        raise invalid_parameter(f"AttributeName {attribute}")
    if attribute == "RawMessageDelivery" and value.lower() not in {"true", "false"}:
        raise invalid_parameter("Attributes Reason: RawMessageDelivery: Invalid value")
    if attribute == "DeliveryPolicy":
        _require_delivery_policy(value)
    if attribute == "FilterPolicy" and value:
        _document(attribute, value)
    if attribute == "RedrivePolicy" and value:
        require_queue(config, attribute, str(_document(attribute, value).get("deadLetterTargetArn")))


def require_same(what: str, noun: str, known: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Making again what is there succeeds only if it is to be as it is."""
    if any(known.get(name) != value for name, value in given.items()):
        raise invalid_parameter(f"{noun} Reason: {what} already exists with different {noun.lower()}")


def _document(attribute: str, value: str) -> dict[str, Any]:
    try:
        given = json.loads(value)
    except ValueError as error:
        raise invalid_parameter(f"{attribute} is not JSON") from error
    if not isinstance(given, dict):
        raise invalid_parameter(f"{attribute} is not a JSON object")
    return given


def _require_delivery_policy(value: str) -> None:
    if not value:
        return  # An empty value takes the policy away.
    try:
        retry_policy.parse(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid_parameter(str(error)) from error
