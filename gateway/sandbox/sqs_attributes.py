"""The attributes of a queue: which there are, what they may be, what they mean. Pure.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.sandbox import sqs_errors

Attributes = dict[str, str]

DEFAULTS: Final[Mapping[str, str]] = {
    "VisibilityTimeout": "30",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
}
RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "VisibilityTimeout": (0, 43_200),
    "MaximumMessageSize": (1_024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "DelaySeconds": (0, 900),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}
_DOCUMENTS: Final = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy"})
_TEXTS: Final = frozenset({"KmsMasterKeyId", "SqsManagedSseEnabled"})
_FIFO: Final = frozenset({"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"})
COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
READ_ONLY: Final = ("QueueArn", "CreatedTimestamp", "LastModifiedTimestamp", *COUNTS)
READABLE: Final = frozenset({*RANGES, *_DOCUMENTS, *_TEXTS, *_FIFO, *READ_ONLY, "All"})
_MAX_RECEIVES: Final = (1, 1_000)


@dataclass(frozen=True)
class Redrive:
    """Where a message goes that was received so often and never deleted."""

    target_arn: str
    max_receives: int

    @property
    def target(self) -> str:
        """The name of the dead-letter queue, which has to be in the same account."""
        return self.target_arn.rpartition(":")[2]

    def arn_of(self, queue: str) -> str:
        """The ARN of a queue beside the dead-letter queue."""
        return f"{self.target_arn.rpartition(':')[0]}:{queue}"


def checked(given: Mapping[str, Any]) -> Attributes:
    """The attributes of a call to create or change a queue. An empty document takes a policy away."""
    for name, value in given.items():
        _require_sense(name, str(value))
    return {name: str(value) for name, value in given.items()}


def redrive(attributes: Mapping[str, str]) -> Redrive | None:
    """The RedrivePolicy in these attributes; InvalidAttributeValue if it is none."""
    given = attributes.get("RedrivePolicy")
    if not given:
        return None
    policy = _document("RedrivePolicy", given)
    target, receives = policy.get("deadLetterTargetArn"), str(policy.get("maxReceiveCount", ""))
    low, high = _MAX_RECEIVES
    if not isinstance(target, str) or not receives.isdecimal() or not low <= int(receives) <= high:
        raise sqs_errors.invalid(
            "RedrivePolicy", given, f"deadLetterTargetArn is an ARN, maxReceiveCount a number from {low} to {high}."
        )
    return Redrive(target, int(receives))


def _require_sense(name: str, value: str) -> None:
    if name in _FIFO:
        raise sqs_errors.no_fifo()
    if name in RANGES:
        _require_range(name, value)
    elif name in _DOCUMENTS:
        if value:
            _document(name, value)
    elif name not in _TEXTS:
        raise sqs_errors.attribute_unknown(name)


def _require_range(name: str, value: str) -> None:
    low, high = RANGES[name]
    if not value.isdecimal() or not low <= int(value) <= high:
        raise sqs_errors.attribute_invalid(name)


def _document(name: str, value: str) -> dict[str, Any]:
    try:
        given = json.loads(value)
    except ValueError as error:
        raise sqs_errors.attribute_invalid(name) from error
    if not isinstance(given, dict):
        raise sqs_errors.attribute_invalid(name)
    return given
