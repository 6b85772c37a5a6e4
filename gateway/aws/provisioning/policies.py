"""Who may put something into what provision makes: the policies of topics and queues, and SNS's patience.

https://docs.aws.amazon.com/ses/latest/dg/configure-sns-notifications.html,
https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

Json = dict[str, Any]

_VERSION: Final = "2012-10-17"
_SES_PUBLISHES: Final = "SesPublishesFeedback"
_SNS_DELIVERS: Final = "SnsDeliversFeedback"
_SOURCE: Final = "aws:sourcearn"
_LASTING: Final = re.compile(r":ses:[^:]*:[^:]*:identity/|:sns:")
_KNOWN: Final = frozenset({_SES_PUBLISHES, _SNS_DELIVERS, "__default_statement_ID"})

DELIVERY_POLICY: Final[Json] = {
    "healthyRetryPolicy": {
        "numRetries": 50,
        "numNoDelayRetries": 0,
        "minDelayTarget": 5,
        "numMinDelayRetries": 10,
        "maxDelayTarget": 88,
        "numMaxDelayRetries": 30,
        "backoffFunction": "exponential",
    }
}
"""Ten tries in the first minute, for a deploy; then slower, for most of an hour.

SNS refuses a policy of more than 3,600 seconds in all
(https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html) and does not publish the curve between the
two delays: 10 x 5 s + 40 x 88 s = 3,570 s is the most that any curve can make of it. What fails for longer goes to the
dead-letter queue."""


def topic_policy(topic_arn: str, account: str, source_arns: Sequence[str]) -> Json:
    """SES may publish, for this account and these configuration sets or identities, and no one else may.

    Without the two conditions any customer of SES could have it publish here (the confused deputy). The account's own
    users need no statement: their IAM policies let them in.
    """
    return _policy(
        {
            "Sid": _SES_PUBLISHES,
            "Effect": "Allow",
            "Principal": {"Service": "ses.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": topic_arn,
            "Condition": {"StringEquals": {"AWS:SourceAccount": account, "AWS:SourceArn": one_or_all(source_arns)}},
        }
    )


def queue_policy(queue_arn: str, topic_arns: Sequence[str]) -> Json:
    """SNS may send what comes from these topics."""
    return _policy(
        {
            "Sid": _SNS_DELIVERS,
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": one_or_all(topic_arns)}},
        }
    )


def with_former_sources(policy: Json, former: Any) -> Json:
    """The policy with what an earlier run wired to the same topic or queue let in as well.

    `former` is the policy that stands there now. Each run names its own identities, or its own way of reporting, and
    what it leaves out goes on. Of a topic only identities are kept, for each configuration set has a topic of its own.
    """
    (statement,) = policy["Statement"]
    ((operator, wanted),) = statement["Condition"].items()
    name = next(name for name in wanted if name.lower() == _SOURCE)
    sources = _listed(wanted[name])
    more = [each for each in _sources(former, statement["Sid"], operator) if _LASTING.search(each)]
    allowed = one_or_all([*sources, *(each for each in more if each not in sources)])
    return _policy({**statement, "Condition": {operator: {**wanted, name: allowed}}})


def _sources(policy: Any, sid: str, operator: str) -> list[str]:
    """What our own statement lets in; the names of condition keys ignore case."""
    return [
        str(source)
        for statement in _statements(policy)
        if statement.get("Sid") == sid
        for name, value in ((statement.get("Condition") or {}).get(operator) or {}).items()
        if name.lower() == _SOURCE
        for source in _listed(value)
    ]


def strange_statements(policy: Any) -> list[str]:
    """The Sids of statements that are neither ours nor what AWS puts into every topic; a number for one without."""
    named = [str(each.get("Sid") or number) for number, each in enumerate(_statements(policy), 1)]
    return [sid for sid in named if sid not in _KNOWN]


def _statements(policy: Any) -> list[Json]:
    found = policy.get("Statement") if isinstance(policy, dict) else None
    return [each for each in _listed(found or []) if isinstance(each, dict)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def one_or_all(values: Sequence[str]) -> str | list[str]:
    """A single value as AWS gives it back, a list of more."""
    return values[0] if len(values) == 1 else list(values)


def comparable_policy(value: Any) -> Any:
    """A policy so that two that mean the same are equal: a list of one is its member, and lists have no order.

    The names of condition keys and actions ignore case (IAM's grammar), their values do not.
    """
    if isinstance(value, dict):
        return {str(key).lower(): _comparable_member(str(key), member) for key, member in value.items()}
    if isinstance(value, list):
        members = [comparable_policy(member) for member in value]
        return members[0] if len(members) == 1 else sorted(members, key=repr)
    return value


def _comparable_member(key: str, member: Any) -> Any:
    made = comparable_policy(member)
    if key.lower() not in {"action", "notaction"}:
        return made
    return made.lower() if isinstance(made, str) else sorted(action.lower() for action in made)


def _policy(*statements: Json) -> Json:
    return {"Version": _VERSION, "Statement": list(statements)}
