"""A topic: there, signing with SHA-256, and open to SES for what we send with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, not_seen
from gateway.aws.provisioning.policies import topic_policy
from gateway.findings import Finding, Ledger, failed, ok, warning
from gateway.resource_policies import admits_ses

_MANAGED_KEY: Final = "alias/aws/sns"


def topic_check(arn: str) -> str:
    return f"topic {short(arn)}"


def policy_check(arn: str) -> str:
    return f"policy of topic {short(arn)}"


def short(arn: str) -> str:
    return arn.rpartition(":")[2]


def look_at_topic(ledger: Ledger, desk: Desk, arn: str, sources: Sequence[str], *, needs: Sequence[str] = ()) -> int:
    """How many subscriptions of it were deleted, as far as SNS still knows."""
    attributes: Mapping[str, Any] = {}

    def topic() -> Finding:
        nonlocal attributes
        try:
            attributes = desk.aws.call("sns", "GetTopicAttributes", TopicArn=arn).get("Attributes", {})
        except AwsCallError as error:
            if error.is_missing:
                return judge_missing(arn)
            return not_seen(topic_check(arn), error)
        return judge_topic(arn, attributes)

    ledger.check(topic_check(arn), topic, needs=needs)
    if attributes:
        ledger.check(
            policy_check(arn),
            lambda: judge_policy(arn, attributes, sources, desk.place.account),
            needs=[topic_check(arn)],
        )
    return int(attributes.get("SubscriptionsDeleted") or 0)


def judge_missing(arn: str) -> Finding:
    return failed(
        topic_check(arn),
        "it does not exist, so SES's reports go nowhere",
        "Run `sesgate provision` again: it makes the topic and its subscriptions anew.",
    )


def judge_topic(arn: str, attributes: Mapping[str, Any]) -> Finding:
    check = topic_check(arn)
    if attributes.get("KmsMasterKeyId") == _MANAGED_KEY:
        return failed(
            check,
            "it is encrypted with the AWS-managed key, which SES may not use: SES cannot publish",
            "Take the encryption away, or use a key of your own whose policy lets ses.amazonaws.com use it.",
        )
    if str(attributes.get("SignatureVersion", "1")) != "2":
        return warning(
            check,
            "it signs with SHA-1 (SignatureVersion 1)",
            f"aws sns set-topic-attributes --topic-arn {arn} --attribute-name SignatureVersion --attribute-value 2",
        )
    return ok(check, "it exists, and signs with SHA-256")


def judge_policy(arn: str, attributes: Mapping[str, Any], sources: Sequence[str], account: str) -> Finding:
    """SES must be let in for every configuration set, or identity, that publishes there."""
    check, policy = policy_check(arn), attributes.get("Policy")
    shut = [one for one in sources if not admits_ses(policy, topic_arn=arn, account_id=account, source_arn=one)]
    if not shut:
        return ok(check, "it lets SES publish")
    wanted = topic_policy(arn, account, list(sources))["Statement"][0]["Condition"]["StringEquals"]
    return failed(
        check,
        f"it does not let SES publish for {short(shut[0])}: its reports are lost",
        "Run `sesgate provision` again; or add a statement that allows ses.amazonaws.com sns:Publish on the topic, with"
        f" AWS:SourceAccount {account} and AWS:SourceArn {wanted['AWS:SourceArn']}.",
    )
