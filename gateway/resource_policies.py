"""Resource policies: whether a service may do something to a topic or a queue. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

_CACHED: Final = 256
"""Policies are asked at each delivery, and there are few."""

_NEGATION: Final = "not"
_LIKE: Final = ("like", "arnequals")
"""Operators that know `*` and `?`; ArnEquals behaves as ArnLike does."""


_SES: Final = "ses.amazonaws.com"
_SNS: Final = "sns.amazonaws.com"


@dataclass(frozen=True)
class Request:
    """What a service of AWS asks for, and on whose behalf.

    `anybody`: the principal `{"AWS": "*"}` means this service too, as it does where SNS sends to a queue.
    """

    service: str
    action: str
    resource: str
    source_account: str
    source_arn: str
    anybody: bool = False

    @property
    def facts(self) -> Mapping[str, str]:
        """The condition keys that are present in such a request."""
        return {
            "aws:sourceaccount": self.source_account,
            "aws:sourceowner": self.source_account,
            "aws:sourcearn": self.source_arn,
            "aws:securetransport": "true",
        }


def admits_ses(policy: str | None, *, topic_arn: str, account_id: str, source_arn: str) -> bool:
    """Whether a topic's policy lets SES publish for this configuration set or identity.

    https://docs.aws.amazon.com/ses/latest/dg/configure-sns-notifications.html
    """
    return admits(policy, Request(_SES, "sns:Publish", topic_arn, account_id, source_arn))


def admits_sns(policy: str | None, *, queue_arn: str, account_id: str, topic_arn: str) -> bool:
    """Whether a queue's policy lets SNS send for this topic, or for a subscription whose dead letters it takes.

    https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
    """
    return admits(policy, Request(_SNS, "sqs:SendMessage", queue_arn, account_id, topic_arn, anybody=True))


@lru_cache(maxsize=_CACHED)
def admits(policy: str | None, request: Request) -> bool:
    """Whether some statement allows it and none denies it. No policy allows nothing: a service is never the owner."""
    statements = _listed(json.loads(policy or "{}").get("Statement", []))
    effects = {statement.get("Effect") for statement in statements if _applies(statement, request)}
    return "Allow" in effects and "Deny" not in effects


def _applies(statement: dict[str, Any], request: Request) -> bool:
    return (
        _names_service(statement.get("Principal"), request)
        and _names_action(_listed(statement.get("Action", [])), request.action)
        and _any_like(request.resource, _listed(statement.get("Resource", "*")))
        and _meets(statement.get("Condition", {}), request.facts)
    )


def _names_service(principal: Any, request: Request) -> bool:
    if isinstance(principal, dict):
        anybody = request.anybody and "*" in _listed(principal.get("AWS", []))
        return anybody or request.service in _listed(principal.get("Service", []))
    return bool(principal == "*")


def _names_action(actions: list[Any], action: str) -> bool:
    return _any_like(action.lower(), [str(listed).lower() for listed in actions])


def _meets(condition: dict[str, dict[str, Any]], facts: Mapping[str, str]) -> bool:
    return all(
        _matches(facts.get(key.lower()), _listed(wanted), operator.lower())
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _matches(actual: str | None, wanted: list[Any], operator: str) -> bool:
    """A key that the request does not have fails a comparison, and passes its negation."""
    if actual is None:
        return _NEGATION in operator
    like = any(word in operator.replace(_NEGATION, "") for word in _LIKE)
    matched = _any_like(actual, wanted) if like else actual in [str(value) for value in wanted]
    return matched != (_NEGATION in operator)


def _any_like(actual: str, patterns: list[Any]) -> bool:
    return any(_pattern(str(pattern)).fullmatch(actual) for pattern in patterns)


def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
