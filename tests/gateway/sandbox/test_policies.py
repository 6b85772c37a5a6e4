"""The retry policy and the topic policy, as tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import resource_policies
from gateway.sandbox import queue_policy, retry_policy, topic_policy
from gateway.sandbox.retry_policy import WIRED, RetryPolicy

TOPIC = "arn:aws:sns:us-east-1:000000000000:t"
ACCOUNT = "000000000000"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
SOURCE = "arn:aws:ses:us-east-1:000000000000:configuration-set/sesgate"


def delays(policy: RetryPolicy) -> list[float]:
    found: list[float] = []
    while (delay := policy.delay(len(found) + 1)) is not None:
        found.append(delay)
    return found


def test_the_default_is_three_retries_twenty_seconds_apart():
    assert delays(RetryPolicy()) == [20.0, 20.0, 20.0]


def test_the_wired_subscription_is_patient_for_most_of_an_hour():
    waited = delays(WIRED)
    assert waited[0] == 1.0
    assert max(waited) == 5.0
    assert waited == sorted(waited)
    assert 3400 < sum(waited) <= 3600


def test_nothing_is_repeated_after_an_hour():
    assert len(delays(RetryPolicy(minDelayTarget=1000, maxDelayTarget=1000, numRetries=50))) == 3


def test_the_phases_follow_each_other():
    policy = RetryPolicy(
        minDelayTarget=2,
        maxDelayTarget=10,
        numRetries=9,
        numNoDelayRetries=2,
        numMinDelayRetries=1,
        numMaxDelayRetries=1,
        backoffFunction="linear",
    )
    assert delays(policy) == [0, 0, 2, 2, 4, 6, 8, 10, 10]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("linear", [1, 6, 11, 16]),
        ("arithmetic", [1, 1 + 15 / 9, 1 + 15 * 4 / 9, 16]),
        ("geometric", [1, 16 ** (1 / 3), 16 ** (2 / 3), 16]),
        ("exponential", [1, 2, 4, 8]),
    ],
)
def test_each_backoff_function_grows_its_own_way(function: str, expected: list[float]):
    policy = RetryPolicy(minDelayTarget=1, maxDelayTarget=16, numRetries=4, backoffFunction=function)
    assert delays(policy) == pytest.approx(expected)


@pytest.mark.parametrize(
    "policy",
    [
        "[]",
        '{"healthyRetryPolicy": {"numRetries": 101}}',
        '{"healthyRetryPolicy": {"numRetries": 1, "numMinDelayRetries": 2}}',
        '{"healthyRetryPolicy": {"minDelayTarget": 30, "maxDelayTarget": 20}}',
        '{"healthyRetryPolicy": {"maxDelayTarget": 3601}}',
        '{"healthyRetryPolicy": {"backoffFunction": "none"}}',
        '{"healthyRetryPolicy": {"retries": 1}}',
    ],
)
def test_an_odd_delivery_policy_is_refused(policy: str):
    with pytest.raises(ValueError, match="DeliveryPolicy"):
        retry_policy.parse(policy)


def test_a_topics_delivery_policy_reads_like_a_subscriptions():
    given = {"http": {"defaultHealthyRetryPolicy": {"numRetries": 7}}}
    assert retry_policy.parse(json.dumps(given)).numRetries == 7


def policy(**changed: Any) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "ses.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": TOPIC,
        "Condition": {"StringEquals": {"AWS:SourceAccount": ACCOUNT, "AWS:SourceArn": SOURCE}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | changed]})


@pytest.mark.parametrize(
    ("changed", "admitted"),
    [
        ({}, True),
        ({"Condition": {}}, True),
        ({"Principal": "*"}, True),
        ({"Principal": {"Service": ["sns.amazonaws.com", "ses.amazonaws.com"]}}, True),
        ({"Action": ["SNS:Publish", "SNS:Subscribe"]}, True),
        (
            {"Condition": {"StringLike": {"aws:SourceArn": "arn:aws:ses:us-east-1:000000000000:configuration-set/*"}}},
            True,
        ),
        ({"Condition": {"ArnLike": {"aws:SourceArn": SOURCE}}}, True),
        ({"Condition": {"ArnNotLike": {"aws:SourceArn": "arn:aws:ses:*:*:identity/*"}}}, True),
        ({"Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}}, True),
        ({"Resource": "arn:aws:sns:*:000000000000:?"}, True),
        ({"Resource": f"{TOPIC}-other"}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "false"}}}, False),
        ({"Condition": {"StringNotLike": {"aws:SourceArn": SOURCE}}}, False),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"AWS": "*"}}, False),
        ({"Action": "sns:Subscribe"}, False),
        ({"Condition": {"StringEquals": {"AWS:SourceAccount": "123456789012"}}}, False),
        ({"Condition": {"StringEquals": {"AWS:SourceArn": f"{SOURCE}-other"}}}, False),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
    ],
)
def test_a_policy_admits_ses_only_as_it_says(changed: dict[str, Any], admitted: bool):
    assert (
        resource_policies.admits_ses(policy(**changed), topic_arn=TOPIC, account_id=ACCOUNT, source_arn=SOURCE)
        is admitted
    )


def test_what_is_denied_is_not_allowed_by_another_statement():
    statements = [*json.loads(policy())["Statement"], *json.loads(policy(Effect="Deny", Principal="*"))["Statement"]]
    mixed = json.dumps({"Statement": statements})
    assert not resource_policies.admits_ses(mixed, topic_arn=TOPIC, account_id=ACCOUNT, source_arn=SOURCE)


@pytest.mark.parametrize(
    ("given", "admitted"),
    [
        (queue_policy.for_topic(QUEUE, TOPIC), True),
        (queue_policy.for_topic(QUEUE, f"{TOPIC}-other"), False),
        (queue_policy.for_topic(f"{QUEUE}-other", TOPIC), False),
        (json.dumps({"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "SQS:*"}}), True),
        (json.dumps({"Statement": {"Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "SQS:*"}}), False),
        ("", False),
        (None, False),
    ],
)
def test_a_queues_policy_lets_sns_send_only_as_it_says(given: str | None, admitted: bool):
    asked = {"queue_arn": QUEUE, "account_id": ACCOUNT, "topic_arn": TOPIC}
    assert resource_policies.admits_sns(given, **asked) is admitted


def test_the_default_policy_of_a_topic_does_not_admit_ses():
    default = topic_policy.default(TOPIC, ACCOUNT)
    assert not resource_policies.admits_ses(default, topic_arn=TOPIC, account_id=ACCOUNT, source_arn=SOURCE)


def test_the_wired_topic_admits_ses():
    wired = topic_policy.for_ses(TOPIC, ACCOUNT, SOURCE)
    assert resource_policies.admits_ses(wired, topic_arn=TOPIC, account_id=ACCOUNT, source_arn=SOURCE)
