"""What reaches the webhook: signed, repeated as SNS repeats, and disturbed on demand."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from gateway.sandbox import names
from tests.gateway.sandbox.receiver import Receiver, verify
from tests.support.sandbox import Sandbox, free_port
from tests.support.waiting import until

RAW = b"From: a@example.com\r\nTo: b@example.org\r\n\r\nbody\r\n"


def send(sandbox: Sandbox, to: str = "success@simulator.amazonses.com") -> str:
    sent = sandbox.client("sesv2").send_email(
        Content={"Raw": {"Data": RAW}}, Destination={"ToAddresses": [to]}, ConfigurationSetName="sesgate"
    )
    return str(sent["MessageId"])


def about(webhook: Receiver, message_id: str) -> list[dict[str, Any]]:
    return [found for found in webhook.envelopes() if message_id in found["Message"]]


@pytest.fixture
def version_1(sandbox: Sandbox) -> Iterator[None]:
    sns = sandbox.client("sns")
    sns.set_topic_attributes(TopicArn=names.TOPIC_ARN, AttributeName="SignatureVersion", AttributeValue="1")
    yield
    sns.set_topic_attributes(TopicArn=names.TOPIC_ARN, AttributeName="SignatureVersion", AttributeValue="2")


def test_everything_is_signed_with_version_2_and_the_pinned_certificate(sandbox: Sandbox, webhook: Receiver):
    message_id = send(sandbox)
    until(lambda: webhook.event_types(message_id) == ["Delivery", "Send"])

    assert webhook.verified(sandbox.certificate_file) > 2
    found = about(webhook, message_id)[0]
    assert found["SignatureVersion"] == "2"
    assert found["Subject"] == "Amazon SES Email Event Notification"
    assert found["Message"].endswith("}\n")
    assert found["SigningCertURL"].startswith(f"{sandbox.endpoint}/SimpleNotificationService-")
    with urllib.request.urlopen(found["SigningCertURL"], timeout=10) as answer:
        assert answer.read() == sandbox.certificate_file.read_bytes()
    for changed in ({"Subject": "another"}, {"Message": found["Message"].rstrip("\n")}):
        with pytest.raises(InvalidSignature):
            verify(found | changed, sandbox.certificate_file.read_bytes())


def test_version_1_is_sha_1(sandbox: Sandbox, webhook: Receiver, version_1: None):
    message_id = send(sandbox)
    until(lambda: webhook.event_types(message_id) == ["Delivery", "Send"])

    for found in about(webhook, message_id):
        assert found["SignatureVersion"] == "1"
        verify(found, sandbox.certificate_file.read_bytes())


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failing_webhook_gets_it_again(sandbox: Sandbox, webhook: Receiver, status: int):
    webhook.answers = [status, status]
    message_id = send(sandbox)

    def delivered() -> list[dict[str, Any]]:
        ids = {found["MessageId"] for found in about(webhook, message_id)}
        log = [row for row in sandbox.notifications() if row["sns_message_id"] in ids]
        return log if len(log) == 2 and all(row["status"] == "DELIVERED" for row in log) else []

    log = until(delivered, what="both events are delivered")
    assert sum(row["attempts"] for row in log) == 4
    assert {row["last_status"] for row in log} == {200}


@pytest.mark.parametrize("status", [403, 404, 302])
def test_any_other_status_is_a_permanent_failure(sandbox: Sandbox, webhook: Receiver, status: int):
    webhook.answers = [status, status]
    before = len(sandbox.notifications())
    message_id = send(sandbox)

    until(lambda: len(about(webhook, message_id)) == 2)
    failed = until(
        lambda: [row for row in sandbox.notifications()[before:] if row["status"] == "FAILED"][1:], what="two failures"
    )
    assert (failed[0]["attempts"], failed[0]["last_status"]) == (1, status)


def test_a_policy_of_its_own_ends_the_retries_of_a_subscription(sandbox: Sandbox):
    once = {"healthyRetryPolicy": {"numRetries": 1, "minDelayTarget": 1, "maxDelayTarget": 1}}
    with Receiver() as receiver:
        sns = sandbox.client("sns")
        topic = sns.create_topic(Name="impatient")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url)
        until(lambda: sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "1")
        (found,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        arn = found["SubscriptionArn"]
        sns.set_subscription_attributes(
            SubscriptionArn=arn, AttributeName="DeliveryPolicy", AttributeValue=json.dumps(once)
        )
        effective = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["EffectiveDeliveryPolicy"]
        assert json.loads(effective)["healthyRetryPolicy"]["numRetries"] == 1
        receiver.answers = [500, 500, 500]
        sns.publish(TopicArn=topic, Message="x")

        rows = until(
            lambda: [row for row in sandbox.notifications() if (row["topic_arn"], row["status"]) == (topic, "FAILED")]
        )
        assert [(row["attempts"], row["last_status"]) for row in rows] == [(2, 500)]
        sns.delete_topic(TopicArn=topic)


def test_raw_delivery_is_the_bare_message(sandbox: Sandbox):
    with Receiver() as receiver:
        sns = sandbox.client("sns")
        topic = sns.create_topic(Name="raw")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url, Attributes={"RawMessageDelivery": "true"})
        until(lambda: sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "1")
        sns.publish(TopicArn=topic, Message="bare ü")
        headers, _ = until(lambda: [post for post in receiver.posts if post[1] == "bare ü".encode()])[0]
        assert headers["x-amz-sns-rawdelivery"] == "true"
        assert headers["x-amz-sns-message-type"] == "Notification"
        sns.delete_topic(TopicArn=topic)


@pytest.mark.parametrize(("ids", "different"), [("same", 1), ("different", 3)])
def test_duplicates_arrive_with_the_same_or_other_sns_message_ids(
    sandbox: Sandbox, webhook: Receiver, ids: str, different: int
):
    sandbox.set_faults(duplicates=2, duplicate_message_ids=ids, drop_events=["Send"])
    message_id = send(sandbox)

    until(lambda: len(about(webhook, message_id)) == 3)
    assert len({found["MessageId"] for found in about(webhook, message_id)}) == different
    assert webhook.event_types(message_id) == ["Delivery"] * 3


def test_dropped_events_are_never_published(sandbox: Sandbox, webhook: Receiver):
    sandbox.set_faults(drop_events=["Delivery"])
    message_id = send(sandbox, "complaint@simulator.amazonses.com")
    until(lambda: webhook.event_types(message_id) == ["Complaint", "Send"])


def test_delayed_events_wait():
    with Receiver() as receiver, Sandbox(webhook_url=receiver.url) as sandbox:
        until(sandbox.confirmed)
        sandbox.set_faults(event_delay_ms=3_600_000)
        message_id = send(sandbox)
        sandbox.set_faults()
        later = send(sandbox)

        until(lambda: receiver.event_types(later) == ["Delivery", "Send"])
        assert receiver.event_types(message_id) == []
        waiting = [row["status"] for row in sandbox.notifications() if row["type"] == "Notification"]
        assert waiting[:2] == ["PENDING", "PENDING"]


def test_shuffled_events_all_arrive(sandbox: Sandbox, webhook: Receiver):
    sandbox.set_faults(shuffle=True)
    sent = [send(sandbox) for _ in range(10)]

    until(lambda: all(webhook.event_types(message_id) == ["Delivery", "Send"] for message_id in sent))
    arrived = [event["eventType"] for event in webhook.events() if event["mail"]["messageId"] in set(sent)]
    assert arrived != ["Send", "Delivery"] * 10


def test_a_webhook_that_starts_later_gets_confirmed_and_then_everything():
    port = free_port()
    with Sandbox(webhook_url=f"http://127.0.0.1:{port}/sns") as sandbox:
        sent = [send(sandbox) for _ in range(5)]
        assert Counter(row["status"] for row in sandbox.notifications()) == {"HELD": 10, "PENDING": 1}

        with Receiver(port=port) as receiver:
            until(lambda: len(receiver.events()) == 10, what="all events")
            assert {event["mail"]["messageId"] for event in receiver.events()} == set(sent)
            receiver.verified(sandbox.certificate_file)


def test_the_log_says_what_became_of_every_notification(sandbox: Sandbox, webhook: Receiver):
    message_id = send(sandbox)
    until(lambda: webhook.event_types(message_id) == ["Delivery", "Send"])
    ids = {found["MessageId"] for found in about(webhook, message_id)}

    rows = until(
        lambda: [
            row for row in sandbox.notifications() if row["sns_message_id"] in ids and row["status"] == "DELIVERED"
        ][1:]
    )
    assert set(rows[0]) == {
        "id",
        "sns_message_id",
        "type",
        "topic_arn",
        "subscription_arn",
        "status",
        "attempts",
        "last_status",
        "last_error",
    }
    assert json.dumps(rows[0])
