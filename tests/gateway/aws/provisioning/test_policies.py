from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path

import pytest
from botocore.session import get_session

import gateway.aws.provisioning
from gateway.aws.provisioning.iam import Subject, policies
from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.policies import DELIVERY_POLICY, comparable_policy, queue_policy, topic_policy
from gateway.aws.session import iam_action

PLACE = Place("123456789012", "eu-west-1")
TOPIC = "arn:aws:sns:eu-west-1:123456789012:sesgate-production-feedback"
SET = "arn:aws:ses:eu-west-1:123456789012:configuration-set/sesgate-production"

_CALL = re.compile(r'"(ses|sesv2|sns|sqs|sts)",\s*f?"([A-Z{][A-Za-z{}]+)"')


def called():
    """Every call that the package makes, by its source."""
    sources = Path(gateway.aws.provisioning.__file__).parent.glob("*.py")
    found = {call for source in sources for call in _CALL.findall(source.read_text())}
    spelled = [
        (service, operation.replace("{verb}", verb)) for service, operation in found for verb in ("Create", "Update")
    ]
    return set(spelled)


def test_ses_may_publish_for_this_account_and_this_set_only():
    (statement,) = topic_policy(TOPIC, PLACE.account, [SET])["Statement"]
    assert statement["Principal"] == {"Service": "ses.amazonaws.com"}
    assert statement["Resource"] == TOPIC
    assert statement["Condition"] == {"StringEquals": {"AWS:SourceAccount": "123456789012", "AWS:SourceArn": SET}}


def test_a_queue_takes_from_its_topics_only():
    (statement,) = queue_policy("queue", [TOPIC, "other"])["Statement"]
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": [TOPIC, "other"]}}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_delivery_policy_outlives_a_deploy_and_stays_within_the_hour_of_sns(share):
    """Whatever the curve of the back-off is, its delays lie between the two targets."""
    policy = DELIVERY_POLICY["healthyRetryPolicy"]
    low, high = policy["minDelayTarget"], policy["maxDelayTarget"]
    growing = policy["numRetries"] - policy["numMinDelayRetries"] - policy["numMaxDelayRetries"]
    total = (
        policy["numMinDelayRetries"] * low
        + growing * (low + (high - low) * share)
        + policy["numMaxDelayRetries"] * high
    )
    assert 45 * 60 <= total <= 3600
    assert policy["numMinDelayRetries"] * low < 60


def test_policies_that_mean_the_same_are_equal():
    ours = topic_policy(TOPIC, PLACE.account, [SET])
    (statement,) = ours["Statement"]
    told = {
        "Statement": [
            {
                **statement,
                "Action": ["SNS:Publish"],
                "Condition": {"StringEquals": {"aws:SourceArn": [SET], "aws:SourceAccount": PLACE.account}},
            }
        ],
        "Version": "2012-10-17",
    }
    assert comparable_policy(told) == comparable_policy(ours)
    assert comparable_policy(told | {"Statement": [{**statement, "Effect": "Deny"}]}) != comparable_policy(ours)
    assert comparable_policy(topic_policy(TOPIC, PLACE.account, ["a", "b"])) == comparable_policy(
        topic_policy(TOPIC, PLACE.account, ["b", "a"])
    )
    assert comparable_policy(topic_policy(TOPIC.upper(), PLACE.account, [SET])) != comparable_policy(ours)
    assert comparable_policy(None) != comparable_policy(ours)


def actions(document):
    return set(chain.from_iterable(statement["Action"] for statement in document["Statement"]))


def test_the_sender_may_send_from_the_verified_identities_with_its_set_and_nothing_else():
    made = policies(Subject(Options(queue=True), PLACE, ["example.com", "a@example.net"]))
    sending = made["sender"]["Statement"][0]
    assert sending["Action"] == ["ses:SendEmail", "ses:SendRawEmail"]
    assert sending["Resource"] == [
        "arn:aws:ses:eu-west-1:123456789012:identity/example.com",
        "arn:aws:ses:eu-west-1:123456789012:identity/a@example.net",
        SET,
    ]
    assert actions(made["sender"]) == {
        "ses:SendEmail",
        "ses:SendRawEmail",
        "ses:GetAccount",
        "ses:ListEmailIdentities",
    }


def test_without_known_identities_the_sender_may_use_all():
    (sending, _) = policies(Subject(Options(queue=True), PLACE))["sender"]["Statement"]
    assert sending["Resource"][0] == "arn:aws:ses:eu-west-1:123456789012:identity/*"


def test_the_gateway_confirms_only_with_a_webhook_and_takes_from_a_queue_only_with_one():
    webhook = policies(Subject(Options(webhook_url="https://mail.example.com/sns"), PLACE))["gateway"]
    assert "sns:ConfirmSubscription" in actions(webhook)
    queue = policies(Subject(Options(queue=True), PLACE))["gateway"]
    assert "sns:ConfirmSubscription" not in actions(queue)
    assert "sqs:ReceiveMessage" in actions(queue)


def test_the_classic_sender_needs_no_configuration_set():
    options = Options(queue=True, classic=True, identities=("example.com",))
    made = policies(Subject(options, PLACE, ["example.com"]))
    assert "configuration-set" not in str(made["sender"])
    assert made["webhook"]["Statement"][0]["Resource"] == [
        f"arn:aws:sns:eu-west-1:123456789012:ses-{kind}-topic-production"
        for kind in ("bounces", "complaints", "deliveries")
    ]


def test_every_call_of_provision_exists_at_aws():
    services = get_session()
    assert len(called()) > 30
    for service, operation in called():
        assert operation in services.get_service_model(service).operation_names


def test_the_operators_policy_allows_every_call_of_provision():
    allowed = actions(policies(Subject(Options(queue=True), PLACE))["operator"])
    assert {iam_action(service, operation) for service, operation in called()} - allowed == set()


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")]
)
def test_policies_name_the_partition(region, partition):
    place = Place("123456789012", region, partition)
    made = policies(Subject(Options(queue=True), place, ["example.com"]))
    assert "arn:aws:" not in str(made)
    for role in ("sender", "webhook", "queue", "operator"):
        assert f"arn:{partition}:" in str(made[role])


def test_the_doctor_may_look_at_all_that_its_paper_names_and_change_nothing():
    paper = (Path(__file__).parents[4] / "docs" / "doctor.md").read_text()
    (document,) = re.findall(r"```json\n(.*?)```", paper, re.DOTALL)
    (statement,) = json.loads(document)["Statement"]
    allowed = actions(policies(Subject(Options(queue=True), PLACE))["doctor"])
    assert allowed == {*statement["Action"], "sts:GetCallerIdentity"}
    assert {action.partition(":")[2][:3] for action in allowed} <= {"Get", "Lis"}
