"""The policies of queues, and whether one lets SNS deliver.

https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
"""

from __future__ import annotations

import json
from typing import Final

from gateway.sandbox import access
from gateway.sandbox.access import Request

_SERVICE: Final = "sns.amazonaws.com"


def for_topic(queue_arn: str, topic_arn: str) -> str:
    """The policy of a queue that takes the messages of one topic."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": _SERVICE},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def admits_sns(policy: str | None, *, queue_arn: str, account_id: str, topic_arn: str) -> bool:
    """Whether SNS may send for this topic, or for a subscription to it whose dead letters the queue takes."""
    request = Request(_SERVICE, "sqs:SendMessage", queue_arn, account_id, topic_arn, anybody=True)
    return access.admits(policy, request)
