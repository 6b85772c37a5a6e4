"""Queues: the one that the gateway empties, and those where what nobody took ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, not_seen
from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.plan import Found
from gateway.aws.session import Aws
from gateway.findings import Finding, Ledger, failed, ok, skipped, warning
from gateway.resource_policies import admits_sns
from gateway.setting_values import QueueUrl

QUEUE: Final = "feedback queue"
QUEUE_POLICY: Final = "policy of the feedback queue"
_PROVISION: Final = "Run `sesgate provision --queue` again: it puts right what differs."
_COUNTS: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

Attributes = Mapping[str, Any]


def look_at_feedback_queue(ledger: Ledger, desk: Desk) -> Attributes | None:
    """The attributes of SESGATE_FEEDBACK_QUEUE_URL; None without it, or when they cannot be seen."""
    queue = desk.situation.queue
    if queue is None:
        return None
    attributes: Attributes | None = None
    if desk.situation.queue_is_elsewhere:
        ledger.add(skipped(QUEUE, "it is reached by an endpoint of its own; its reader tells how it is"))
        return None

    def look() -> Finding:
        nonlocal attributes
        try:
            attributes = _attributes(desk.aws_of(queue.region), queue.url)
        except AwsCallError as error:
            return judge_missing_queue(queue) if error.is_missing else not_seen(QUEUE, error)
        return judge_queue(attributes)

    ledger.check(QUEUE, look)
    return attributes


def feedback_queue_arn(desk: Desk, attributes: Attributes | None) -> str | None:
    """As the queue itself says, and else as its URL does, which ends in the account and the name."""
    queue = desk.situation.queue
    if queue is None:
        return None
    if attributes and attributes.get("QueueArn"):
        return str(attributes["QueueArn"])
    account, _, name = urlsplit(queue.url).path.strip("/").rpartition("/")
    place = Place(
        account.rpartition("/")[2] or desk.place.account, queue.region or desk.place.region, desk.place.partition
    )
    return place.arn("sqs", name)


def look_at_queue_policy(ledger: Ledger, desk: Desk, attributes: Attributes | None, topics: Sequence[str]) -> None:
    if desk.situation.queue is not None and topics:
        missing = ledger.missing([QUEUE])
        if missing is not None or attributes is None:
            ledger.add(skipped(QUEUE_POLICY, f"needs {missing or QUEUE}"))
        else:
            ledger.add(judge_queue_policy(attributes, topics, desk.place.account))


def _attributes(aws: Aws, url: str) -> Attributes:
    answer = aws.call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
    given: Attributes = answer.get("Attributes", {})
    return given


def judge_missing_queue(queue: QueueUrl) -> Finding:
    return failed(
        QUEUE, f"there is no queue {queue}", "Set SESGATE_FEEDBACK_QUEUE_URL as `sesgate provision --queue` prints it."
    )


def judge_queue(attributes: Attributes) -> Finding:
    waiting, hidden = (int(attributes.get(name) or 0) for name in _COUNTS)
    seen = f"it exists; {waiting} messages wait, {hidden} are being taken in"
    if not attributes.get("RedrivePolicy"):
        return warning(
            QUEUE, f"{seen}; it has no dead-letter queue, so what is refused comes again until it is lost", _PROVISION
        )
    return ok(QUEUE, seen)


def judge_queue_policy(attributes: Attributes, topics: Sequence[str], account: str) -> Finding:
    policy, arn = attributes.get("Policy"), str(attributes.get("QueueArn"))
    shut = [one for one in topics if not admits_sns(policy, queue_arn=arn, account_id=account, topic_arn=one)]
    if not shut:
        return ok(QUEUE_POLICY, "it lets SNS deliver")
    return failed(
        QUEUE_POLICY,
        f"it does not let SNS deliver what comes from {shut[0].rpartition(':')[2]}: the reports are lost",
        f"{_PROVISION} It allows sns.amazonaws.com sqs:SendMessage for aws:SourceArn {shut[0]}.",
    )


def look_at_dead_letters(
    ledger: Ledger, desk: Desk, webhooks: Sequence[Found], feedback_queue: Attributes | None
) -> None:
    """Each dead-letter queue once: those of the webhook's subscriptions, and that of the feedback queue."""
    without = [one for one in webhooks if not _target(one.attributes.get("RedrivePolicy"))]
    if without:
        ledger.add(judge_no_dead_letters([str(one.attributes["Endpoint"]) for one in without]))
    targets = {arn: True for one in webhooks if (arn := _target(one.attributes.get("RedrivePolicy")))}
    if feedback_queue is not None and (arn := _target(feedback_queue.get("RedrivePolicy"))):
        targets.setdefault(arn, False)
    topics = sorted({one.parent for one in webhooks})
    for arn, takes_from_sns in targets.items():
        ledger.add(_look_at_dead_letters(desk, arn, topics if takes_from_sns else ()))


def _target(redrive: Any) -> str:
    try:
        read = json.loads(redrive) if isinstance(redrive, str) else redrive
    except ValueError:
        return ""
    return str((read or {}).get("deadLetterTargetArn") or "") if isinstance(read, dict) or not read else ""


def judge_no_dead_letters(endpoints: Sequence[str]) -> Finding:
    return warning(
        "dead letters",
        f"what {', '.join(endpoints)} does not take for an hour is lost: its subscription has no dead-letter queue",
        "Run `sesgate provision` again: it makes one.",
    )


def _look_at_dead_letters(desk: Desk, arn: str, topics: Sequence[str]) -> Finding:
    *_, region, account, name = arn.split(":")
    aws = desk.aws_of(region)
    check = f"dead letters in {name}"
    try:
        url = str(aws.call("sqs", "GetQueueUrl", QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"])
        attributes = _attributes(aws, url)
    except AwsCallError as error:
        if error.is_missing:
            return warning(
                check,
                "the queue does not exist, so dead letters are lost",
                "Run `sesgate provision` again: it makes one.",
            )
        return not_seen(check, error)
    return judge_dead_letters(check, url, attributes, topics, desk.place.account)


def judge_dead_letters(check: str, url: str, attributes: Attributes, topics: Sequence[str], account: str) -> Finding:
    arn, policy = str(attributes.get("QueueArn")), attributes.get("Policy")
    shut = [one for one in topics if not admits_sns(policy, queue_arn=arn, account_id=account, topic_arn=one)]
    if shut:
        return warning(
            check,
            f"its policy does not let SNS put in what comes from {shut[0].rpartition(':')[2]}: dead letters are lost",
            "Run `sesgate provision` again: it sets the policy.",
        )
    waiting = int(attributes.get(_COUNTS[0]) or 0)
    if waiting:
        return warning(
            check,
            f"{waiting} messages lie in it, which were not taken in",
            f"See in the log why, then: sesgate feedback-queue redrive {url}",
        )
    return ok(check, "empty")
