"""The policy of a queue of the simulated AWS that a topic delivers to.

https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
"""

from __future__ import annotations

import json
from typing import Final

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
