"""SNS into queues: confirmation, policies, raw delivery, dead letters, and the wired feedback queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.sandbox import names, queue_policy
from gateway.sandbox.carriers import QueueCarrier
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.sqs_messages import Draft
from gateway.sandbox.state import open_state
from tests.gateway.sandbox.receiver import Receiver, verify
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

PREFIX = "arn:aws:sqs:us-east-1:000000000000:"


@pytest.fixture
def sns(sandbox: Sandbox) -> Any:
    return sandbox.client("sns")


@pytest.fixture
def sqs(sandbox: Sandbox) -> Any:
    return sandbox.client("sqs")


@pytest.fixture
def topic(sns: Any) -> Iterator[str]:
    arn = sns.create_topic(Name="to-queues", Attributes={"SignatureVersion": "2"})["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


@pytest.fixture
def queue(sqs: Any, topic: str) -> Iterator[str]:
    """A queue that SNS may fill for the topic."""
    policy = queue_policy.for_topic(f"{PREFIX}inbox", topic)
    url = sqs.create_queue(QueueName="inbox", Attributes={"Policy": policy})["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def received(sqs: Any, url: str) -> list[dict[str, Any]]:
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20, MessageAttributeNames=["All"]
    )
    return list(answer.get("Messages", []))


def subscribe(sns: Any, topic: str, **attributes: str) -> str:
    made = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"{PREFIX}inbox", Attributes=attributes)
    return str(made["SubscriptionArn"])


def refused(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_queue_of_the_account_is_confirmed_at_once_and_gets_the_signed_envelope(
    sandbox: Sandbox, sns: Any, sqs: Any, topic: str, queue: str
):
    arn = subscribe(sns, topic)
    assert arn.startswith(f"{topic}:")
    assert subscribe(sns, topic) == arn
    shown = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert (shown["Protocol"], shown["PendingConfirmation"]) == ("sqs", "false")
    sns.publish(TopicArn=topic, Message="hello\n", Subject="s")

    (message,) = received(sqs, queue)
    envelope = json.loads(message["Body"])
    assert (envelope["Type"], envelope["Message"], envelope["TopicArn"]) == ("Notification", "hello\n", topic)
    verify(envelope, sandbox.certificate_file.read_bytes())


def test_raw_delivery_gives_a_queue_the_bare_message_and_its_attributes(sns: Any, sqs: Any, topic: str, queue: str):
    subscribe(sns, topic, RawMessageDelivery="true")
    attributes = {
        "a": {"DataType": "String", "StringValue": "v"},
        "b": {"DataType": "Binary", "BinaryValue": b"\x01"},
    }
    sns.publish(TopicArn=topic, Message="bare", MessageAttributes=attributes)

    (message,) = received(sqs, queue)
    assert message["Body"] == "bare"
    assert message["MessageAttributes"] == attributes


def test_each_protocol_has_a_text_of_its_own_with_message_structure(sns: Any, sqs: Any, topic: str, queue: str):
    subscribe(sns, topic, RawMessageDelivery="true")
    sns.publish(TopicArn=topic, Message=json.dumps({"default": "d", "sqs": "q"}), MessageStructure="json")

    assert [message["Body"] for message in received(sqs, queue)] == ["q"]


def outcomes(sandbox: Sandbox, topic: str) -> list[tuple[str, int]]:
    rows = [row for row in sandbox.notifications() if row["topic_arn"] == topic and row["status"] != "PENDING"]
    return [(row["status"], row["last_status"]) for row in rows]


@pytest.mark.parametrize("policy", ["", queue_policy.for_topic(f"{PREFIX}inbox", names.TOPIC_ARN)])
def test_without_a_policy_for_the_topic_the_messages_are_lost(
    sandbox: Sandbox, sns: Any, sqs: Any, topic: str, queue: str, policy: str
):
    before = len(outcomes(sandbox, topic))
    subscribe(sns, topic)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    sns.publish(TopicArn=topic, Message="lost")

    until(lambda: outcomes(sandbox, topic)[before:] == [("FAILED", 403)], what="the delivery is refused")
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


@pytest.fixture
def dead(sqs: Any, topic: str) -> Iterator[str]:
    policy = queue_policy.for_topic(f"{PREFIX}letters", topic)
    url = sqs.create_queue(QueueName="letters", Attributes={"Policy": policy})["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


REDRIVE = json.dumps({"deadLetterTargetArn": f"{PREFIX}letters"})


def test_what_a_queue_refuses_goes_to_the_dead_letters_of_the_subscription(
    sns: Any, sqs: Any, topic: str, queue: str, dead: str
):
    subscribe(sns, topic, RedrivePolicy=REDRIVE)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
    sns.publish(TopicArn=topic, Message="kept")

    (letter,) = received(sqs, dead)
    assert json.loads(letter["Body"])["Message"] == "kept"
    assert letter["MessageAttributes"]["ErrorCode"]["StringValue"] == "403"


def test_what_a_webhook_refuses_goes_to_the_dead_letters_still_signed(
    sandbox: Sandbox, sns: Any, sqs: Any, topic: str, dead: str
):
    with Receiver() as listener:
        arn = sns.subscribe(
            TopicArn=topic,
            Protocol="http",
            Endpoint=listener.url,
            Attributes={"RedrivePolicy": REDRIVE},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        until(lambda: pending(sns, arn) == "false", what="the subscription is confirmed")
        listener.answers = [403]
        sns.publish(TopicArn=topic, Message="refused")

        (letter,) = received(sqs, dead)
    envelope = json.loads(letter["Body"])
    assert envelope["Message"] == "refused"
    verify(envelope, sandbox.certificate_file.read_bytes())
    assert letter["MessageAttributes"]["ErrorCode"]["StringValue"] == "403"


def pending(sns: Any, arn: str) -> str:
    return str(sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"])


def test_what_a_webhook_never_takes_goes_to_the_dead_letters(sns: Any, sqs: Any, topic: str, dead: str):
    policy = {"healthyRetryPolicy": {"minDelayTarget": 1, "maxDelayTarget": 1, "numRetries": 1, "numNoDelayRetries": 1}}
    with Receiver() as listener:
        attributes = {"RedrivePolicy": REDRIVE, "DeliveryPolicy": json.dumps(policy)}
        arn = sns.subscribe(
            TopicArn=topic,
            Protocol="http",
            Endpoint=listener.url,
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        until(lambda: pending(sns, arn) == "false", what="the subscription is confirmed")
        listener.answers = [503, 503, 503]
        sns.publish(TopicArn=topic, Message="never taken")
        (letter,) = received(sqs, dead)

        assert len(listener.answers) == 1, "one retry"
    assert json.loads(letter["Body"])["Message"] == "never taken"


def test_a_raw_webhook_gets_the_message_without_an_envelope(sns: Any, topic: str):
    with Receiver() as listener:
        arn = sns.subscribe(
            TopicArn=topic,
            Protocol="http",
            Endpoint=listener.url,
            Attributes={"RawMessageDelivery": "true"},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        until(lambda: pending(sns, arn) == "false", what="the subscription is confirmed")
        sns.publish(TopicArn=topic, Message="bare")

        def bare() -> list[bytes]:
            return [body for headers, body in listener.posts if headers.get("x-amz-sns-rawdelivery") == "true"]

        assert until(bare, what="the raw message") == [b"bare"]


@pytest.mark.parametrize(
    ("protocol", "endpoint", "attributes"),
    [
        ("sqs", "http://127.0.0.1/000000000000/inbox", {}),
        ("sqs", "arn:aws:sqs:us-east-1:123456789012:inbox", {}),
        ("sqs", f"{PREFIX}inbox.fifo", {}),
        ("sqs", f"{PREFIX}inbox", {"RedrivePolicy": "{}"}),
        ("sqs", f"{PREFIX}inbox", {"RedrivePolicy": '{"deadLetterTargetArn": "arn:aws:sns:x"}'}),
        ("sqs", f"{PREFIX}inbox", {"FilterPolicy": "{"}),
        ("email", "a@example.com", {}),
    ],
)
def test_an_odd_subscription_is_refused(sns: Any, topic: str, protocol: str, endpoint: str, attributes: dict[str, str]):
    with pytest.raises(ClientError) as caught:
        sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint, Attributes=attributes)
    assert refused(caught) == "InvalidParameter"


def test_attributes_of_a_subscription_can_be_set_and_taken_away(sns: Any, topic: str, queue: str):
    arn = subscribe(sns, topic)
    for value in (REDRIVE, ""):
        sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="RedrivePolicy", AttributeValue=value)
        shown = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
        assert shown.get("RedrivePolicy", "") == value
    with pytest.raises(ClientError) as caught:
        subscribe(sns, topic, RawMessageDelivery="true")
    assert refused(caught) == "InvalidParameter"


def test_only_a_confirmed_subscription_can_be_ended(sns: Any, topic: str, queue: str):
    with Receiver(confirms=False) as listener:
        arn = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url, ReturnSubscriptionArn=True)
        for unconfirmed in ("PendingConfirmation", arn["SubscriptionArn"]):
            with pytest.raises(ClientError) as caught:
                sns.unsubscribe(SubscriptionArn=unconfirmed)
            assert refused(caught) == "InvalidParameter"
    queued = subscribe(sns, topic)
    sns.unsubscribe(SubscriptionArn=queued)
    sns.unsubscribe(SubscriptionArn=queued)

    shown = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert [shown[f"Subscriptions{state}"] for state in ("Confirmed", "Pending", "Deleted")] == ["0", "1", "1"]


def test_topics_are_tagged(sns: Any, topic: str):
    arn = sns.create_topic(Name="tagged", Tags=[{"Key": "sesgate", "Value": "yes"}])["TopicArn"]
    assert sns.create_topic(Name="tagged", Tags=[{"Key": "sesgate", "Value": "yes"}])["TopicArn"] == arn
    for different in ({"Tags": [{"Key": "sesgate", "Value": "no"}]}, {"Attributes": {"SignatureVersion": "2"}}):
        with pytest.raises(ClientError) as caught:
            sns.create_topic(Name="tagged", **different)
        assert refused(caught) == "InvalidParameter"
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sns.untag_resource(ResourceArn=arn, TagKeys=["a"])
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == [
        {"Key": "b", "Value": "2"},
        {"Key": "sesgate", "Value": "yes"},
    ]
    sns.delete_topic(TopicArn=arn)
    with pytest.raises(ClientError) as caught:
        sns.list_tags_for_resource(ResourceArn=arn)
    assert refused(caught) == "ResourceNotFound"


def test_the_feedback_queue_is_fed_only_while_the_gateway_reads_it():
    with Sandbox(feedback_queue_url="http://127.0.0.1:1/000000000000/sesgate-feedback") as sandbox:
        sandbox.restart()
        (wired,) = sandbox.client("sns").list_subscriptions_by_topic(TopicArn=names.TOPIC_ARN)["Subscriptions"]
        assert wired["Endpoint"] == f"{PREFIX}{names.FEEDBACK_QUEUE}"
        sandbox.set_faults(duplicates=1)
        sandbox.client("sesv2").send_email(
            ConfigurationSetName="sesgate",
            Content={"Raw": {"Data": b"From: a@example.com\r\n\r\nx\r\n"}},
            Destination={"ToAddresses": ["success@simulator.amazonses.com"]},
        )
        sqs = sandbox.client("sqs")
        url = sqs.get_queue_url(QueueName=names.FEEDBACK_QUEUE)["QueueUrl"]
        bodies: list[str] = []

        def all_there() -> bool:
            bodies.extend(message["Body"] for message in received(sqs, url))
            return len(bodies) == 4

        until(all_there, what="Send and Delivery, twice each")
        events = [json.loads(json.loads(body)["Message"])["eventType"] for body in bodies]
        assert sorted(events) == ["Delivery", "Delivery", "Send", "Send"]

        sandbox.feedback_queue_url = None
        sandbox.restart()
        assert sandbox.client("sns").list_subscriptions()["Subscriptions"] == []


def test_a_queue_that_cannot_be_written_to_now_is_tried_again(tmp_path: Path):
    state = open_state(SandboxConfig("127.0.0.1", 4566, tmp_path / "sandbox", None))
    resources, queue_arn = state.resources, state.config.queue_arn(names.FEEDBACK_QUEUE)
    subscription = resources.subscriptions.create(names.TOPIC_ARN, "sqs", queue_arn, {})
    resources.database.execute("ALTER TABLE queue_messages RENAME TO away")

    answer = QueueCarrier(state.config, resources).carry(queue_arn, names.TOPIC_ARN, Draft("x"))
    delay = resources.topics.retry_policy(subscription).delay(100)
    state.close()

    assert (answer.status, answer.error) == (None, "OperationalError")
    assert delay is not None


def test_what_is_on_its_way_to_a_queue_outlives_a_kill():
    with Sandbox(feedback_queue_url="http://127.0.0.1:1/000000000000/sesgate-feedback") as sandbox:
        sandbox.set_faults(event_delay_ms=1000, shuffle=True)
        sandbox.client("sns").publish(TopicArn=names.TOPIC_ARN, Message="kept")
        sandbox.restart()
        sqs = sandbox.client("sqs")
        (message,) = received(sqs, sqs.get_queue_url(QueueName=names.FEEDBACK_QUEUE)["QueueUrl"])

    assert json.loads(message["Body"])["Message"] == "kept"
