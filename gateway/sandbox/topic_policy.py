"""Whether a topic's policy lets SES publish, as SES finds out when an event destination is made.

https://docs.aws.amazon.com/ses/latest/dg/configure-sns-notifications.html
"""

from __future__ import annotations

import json
from typing import Any, Final

_SERVICE: Final = "ses.amazonaws.com"
_PUBLISHING: Final = frozenset({"sns:publish", "sns:*", "*"})
_CONDITION_KEYS: Final = ("aws:sourceaccount", "aws:sourceowner", "aws:sourcearn")


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


def for_ses(topic_arn: str, account_id: str, configuration_set_arn: str) -> str:
    """The policy of the topic that the sandbox starts with."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": _SERVICE},
        "Action": "sns:Publish",
        "Resource": topic_arn,
        "Condition": {"StringEquals": {"AWS:SourceAccount": account_id, "AWS:SourceArn": configuration_set_arn}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def admits_ses(policy: str, *, account_id: str, source_arn: str) -> bool:
    """Whether some statement allows SES to publish for this configuration set, and none denies it."""
    statements = _listed(json.loads(policy).get("Statement", []))
    about_ses = [statement for statement in statements if _applies(statement, account_id, source_arn)]
    effects = {statement.get("Effect") for statement in about_ses}
    return "Allow" in effects and "Deny" not in effects


def _applies(statement: dict[str, Any], account_id: str, source_arn: str) -> bool:
    actions = {str(action).lower() for action in _listed(statement.get("Action", []))}
    return (
        _names_service(statement.get("Principal"))
        and bool(actions & _PUBLISHING)
        and _meets(statement.get("Condition", {}), account_id, source_arn)
    )


def _names_service(principal: Any) -> bool:
    if isinstance(principal, dict):
        return _SERVICE in _listed(principal.get("Service", []))
    return bool(principal == "*")


def _meets(condition: dict[str, dict[str, Any]], account_id: str, source_arn: str) -> bool:
    actual = dict(zip(_CONDITION_KEYS, (account_id, account_id, source_arn), strict=True))
    return all(
        _matches(actual.get(key.lower()), _listed(wanted), like="like" in operator.lower())
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _matches(actual: str | None, patterns: list[Any], *, like: bool) -> bool:
    if actual is None:
        return False
    return any(actual == wanted or (like and _like(actual, str(wanted))) for wanted in patterns)


def _like(actual: str, pattern: str) -> bool:
    """IAM's `*`, enough for `…:configuration-set/*`."""
    head, star, tail = pattern.partition("*")
    return bool(star) and actual.startswith(head) and actual.endswith(tail) and len(actual) >= len(head) + len(tail)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
