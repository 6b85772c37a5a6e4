"""The policies that topics of the simulated AWS begin with.

https://docs.aws.amazon.com/ses/latest/dg/configure-sns-notifications.html
"""

from __future__ import annotations

import json
from typing import Final

_SERVICE: Final = "ses.amazonaws.com"


def default(topic_arn: str, account_id: str) -> str:
    """What a new topic has: its owner may do everything, and no service may publish."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": ["SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:Subscribe", "SNS:Publish"],
        "Resource": topic_arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": account_id}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def for_ses(topic_arn: str, account_id: str, *source_arns: str) -> str:
    """The policy of the topic that the sandbox starts with. A source may end in `*`."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": _SERVICE},
        "Action": "sns:Publish",
        "Resource": topic_arn,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": account_id},
            "ArnLike": {"AWS:SourceArn": list(source_arns)},
        },
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
