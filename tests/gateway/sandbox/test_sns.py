"""Topics, subscriptions and configuration-set destinations through boto3."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.sandbox import names
from tests.gateway.sandbox.receiver import Receiver
from tests.support.sandbox import Sandbox
from tests.support.waiting import until


@pytest.fixture
def topic(sandbox: Sandbox) -> Iterator[str]:
    sns = sandbox.client("sns")
    arn = sns.create_topic(Name="other")["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


@pytest.fixture
def listener() -> Iterator[Receiver]:
    with Receiver(confirms=False) as receiver:
        yield receiver


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def confirmation(listener: Receiver) -> dict[str, Any]:
    return dict(until(lambda: listener.envelopes("SubscriptionConfirmation"), what="a confirmation")[-1])


def test_the_sandbox_starts_wired(sandbox: Sandbox, webhook: Receiver):
    sns, ses = sandbox.client("sns"), sandbox.client("sesv2")

    assert {"TopicArn": names.TOPIC_ARN} in sns.list_topics()["Topics"]
    (wired,) = sns.list_subscriptions_by_topic(TopicArn=names.TOPIC_ARN)["Subscriptions"]
    assert wired["Endpoint"] == webhook.url
    assert wired["SubscriptionArn"].startswith(names.TOPIC_ARN)
    (destination,) = ses.get_configuration_set_event_destinations(ConfigurationSetName="sesgate")["EventDestinations"]
    assert destination["SnsDestination"] == {"TopicArn": names.TOPIC_ARN}
    assert set(destination["MatchingEventTypes"]) == set(names.EVENT_TYPES)
    attributes = sns.get_topic_attributes(TopicArn=names.TOPIC_ARN)["Attributes"]
    assert attributes["SignatureVersion"] == "2"


def test_creating_a_topic_twice_gives_the_same_one(sandbox: Sandbox, topic: str):
    assert sandbox.client("sns").create_topic(Name="other")["TopicArn"] == topic


def test_topic_attributes_can_be_set_and_odd_ones_are_refused(sandbox: Sandbox, topic: str):
    sns = sandbox.client("sns")
    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SignatureVersion"] == "2"
    for name, value in (
        ("SignatureVersion", "3"),
        ("Policy", "{"),
        ("DeliveryPolicy", '{"healthyRetryPolicy": {"numRetries": 101}}'),
        ("Nonsense", "x"),
    ):
        with pytest.raises(ClientError) as caught:
            sns.set_topic_attributes(TopicArn=topic, AttributeName=name, AttributeValue=value)
        assert code(caught) == "InvalidParameter"


def test_a_topic_that_is_not_there_is_not_found(sandbox: Sandbox):
    with pytest.raises(ClientError) as caught:
        sandbox.client("sns").get_topic_attributes(TopicArn="arn:aws:sns:us-east-1:000000000000:none")
    assert code(caught) == "NotFound"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_a_subscription_waits_for_its_token(sandbox: Sandbox, topic: str, listener: Receiver):
    sns = sandbox.client("sns")
    arn = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url, ReturnSubscriptionArn=True)[
        "SubscriptionArn"
    ]
    question = confirmation(listener)
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"] == "true"
    sns.publish(TopicArn=topic, Message="before the confirmation")

    with pytest.raises(ClientError) as caught:
        sns.confirm_subscription(TopicArn=topic, Token="wrong")
    assert code(caught) == "InvalidParameter"
    confirmed = sns.confirm_subscription(TopicArn=topic, Token=question["Token"], AuthenticateOnUnsubscribe="true")

    assert confirmed["SubscriptionArn"] == arn
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert attributes["PendingConfirmation"] == "false"
    assert attributes["ConfirmationWasAuthenticated"] == "true"
    sns.publish(TopicArn=topic, Message="after the confirmation", Subject="s")
    until(listener.envelopes)
    assert [found["Message"] for found in listener.envelopes()] == ["after the confirmation"]


def test_the_question_is_repeated_until_it_is_answered(sandbox: Sandbox, topic: str, listener: Receiver):
    sns = sandbox.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url)

    until(lambda: len(listener.envelopes("SubscriptionConfirmation")) >= 2, what="a second question")
    questions = listener.envelopes("SubscriptionConfirmation")
    assert len({found["Token"] for found in questions}) == 1
    assert len({found["MessageId"] for found in questions}) == len(questions)


def test_headers_are_those_of_sns(sandbox: Sandbox, topic: str, listener: Receiver):
    sns = sandbox.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url)
    question = confirmation(listener)
    first = listener.posts[0][0]
    assert first["content-type"] == "text/plain; charset=UTF-8"
    assert first["user-agent"] == "Amazon Simple Notification Service Agent"
    assert first["x-amz-sns-topic-arn"] == topic
    assert "x-amz-sns-subscription-arn" not in first

    sns.confirm_subscription(TopicArn=topic, Token=question["Token"])
    message_id = sns.publish(TopicArn=topic, Message="x")["MessageId"]
    until(listener.envelopes)
    headers = listener.posts[-1][0]
    assert headers["x-amz-sns-message-type"] == "Notification"
    assert headers["x-amz-sns-message-id"] == message_id
    assert headers["x-amz-sns-subscription-arn"].startswith(f"{topic}:")
    assert "Subject" not in listener.envelopes()[0]


def test_the_link_in_a_notification_unsubscribes_and_the_endpoint_is_told(
    sandbox: Sandbox, topic: str, listener: Receiver
):
    sns = sandbox.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url)
    sns.confirm_subscription(TopicArn=topic, Token=confirmation(listener)["Token"])
    sns.publish(TopicArn=topic, Message="x")
    until(listener.envelopes)

    with urllib.request.urlopen(listener.envelopes()[0]["UnsubscribeURL"], timeout=10) as answer:
        assert answer.status == 200

    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    until(lambda: listener.envelopes("UnsubscribeConfirmation"))
    listener.verified(sandbox.certificate_file)


def test_an_authenticated_subscription_cannot_be_ended_by_the_link(sandbox: Sandbox, topic: str, listener: Receiver):
    sns = sandbox.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url)
    token = confirmation(listener)["Token"]
    arn = sns.confirm_subscription(TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")["SubscriptionArn"]

    with pytest.raises(urllib.error.HTTPError, match="403") as caught:
        urllib.request.urlopen(f"{sandbox.endpoint}/?Action=Unsubscribe&SubscriptionArn={arn}", timeout=10)
    caught.value.close()
    assert sns.get_subscription_attributes(SubscriptionArn=arn)
    sns.unsubscribe(SubscriptionArn=arn)
    with pytest.raises(ClientError) as gone:
        sns.get_subscription_attributes(SubscriptionArn=arn)
    assert code(gone) == "NotFound"


@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [
        ("email", "a@example.org"),
        ("https", "http://127.0.0.1/"),
        ("http", "nothing"),
        ("http", "http://[127.0.0.1/"),
        ("http", "http://127.0.0.1:x/"),
    ],
)
def test_other_protocols_are_refused(sandbox: Sandbox, topic: str, protocol: str, endpoint: str):
    with pytest.raises(ClientError) as caught:
        sandbox.client("sns").subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    assert code(caught) == "InvalidParameter"


def test_subscribing_again_does_not_make_a_second_one(sandbox: Sandbox, topic: str, listener: Receiver):
    sns = sandbox.client("sns")
    for _ in range(2):
        assert (
            sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url)["SubscriptionArn"]
            == "pending confirmation"
        )
    assert len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]) == 1


def test_the_password_of_an_endpoint_is_used_and_never_shown(sandbox: Sandbox, topic: str, listener: Receiver):
    sns = sandbox.client("sns")
    endpoint = listener.url.replace("http://", "http://user:s3cret@")
    masked = listener.url.replace("http://", "http://user:****@")
    for _ in range(2):
        arn = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint, ReturnSubscriptionArn=True)
    assert sns.get_subscription_attributes(SubscriptionArn=arn["SubscriptionArn"])["Attributes"]["Endpoint"] == masked
    (listed,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert listed["Endpoint"] == masked
    assert masked in {one["Endpoint"] for one in sns.list_subscriptions()["Subscriptions"]}
    assert confirmation(listener)["TopicArn"] == topic


def test_message_structure_json_picks_the_text_for_http(sandbox: Sandbox, topic: str, listener: Receiver):
    sns = sandbox.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url)
    sns.confirm_subscription(TopicArn=topic, Token=confirmation(listener)["Token"])
    sns.publish(
        TopicArn=topic,
        Message=json.dumps({"default": "d", "http": "h"}),
        MessageStructure="json",
        MessageAttributes={"colour": {"DataType": "String", "StringValue": "red"}},
    )
    found = until(listener.envelopes)[0]
    assert found["Message"] == "h"
    assert found["MessageAttributes"] == {"colour": {"Type": "String", "Value": "red"}}


@pytest.mark.parametrize(
    "call", [{"Message": ""}, {"Message": "x" * 262_145}, {"Message": "x", "Subject": "two\nlines"}]
)
def test_what_sns_does_not_publish_is_refused(sandbox: Sandbox, topic: str, call: dict[str, str]):
    with pytest.raises(ClientError) as caught:
        sandbox.client("sns").publish(TopicArn=topic, **call)
    assert code(caught) == "InvalidParameter"


def policy_for_ses(topic: str, name: str) -> str:
    source = f"arn:aws:ses:us-east-1:000000000000:configuration-set/{name}"
    condition = {"StringEquals": {"AWS:SourceAccount": names.ACCOUNT_ID, "AWS:SourceArn": source}}
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "ses.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": condition,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def configuration_set(sandbox: Sandbox) -> Iterator[str]:
    ses = sandbox.client("sesv2")
    ses.create_configuration_set(ConfigurationSetName="fresh")
    yield "fresh"
    ses.delete_configuration_set(ConfigurationSetName="fresh")


def test_an_event_destination_says_hello_to_its_topic(
    sandbox: Sandbox, topic: str, listener: Receiver, configuration_set: str
):
    sns, ses = sandbox.client("sns"), sandbox.client("sesv2")
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=listener.url)
    sns.confirm_subscription(TopicArn=topic, Token=confirmation(listener)["Token"])
    destination = {"Enabled": True, "MatchingEventTypes": ["BOUNCE"], "SnsDestination": {"TopicArn": topic}}
    call = {"ConfigurationSetName": configuration_set, "EventDestinationName": "d", "EventDestination": destination}
    with pytest.raises(ClientError) as caught:
        ses.create_configuration_set_event_destination(**call)
    assert code(caught) == "BadRequestException"
    assert "policy" in str(caught.value)

    sns.set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=policy_for_ses(topic, configuration_set)
    )
    ses.create_configuration_set_event_destination(**call)

    hello = until(listener.envelopes)[0]
    assert hello["Message"] == "Successfully validated SNS topic for Amazon SES event publishing."
    assert hello["SignatureVersion"] == "1"
    with pytest.raises(ClientError) as twice:
        ses.create_configuration_set_event_destination(**call)
    assert code(twice) == "AlreadyExistsException"
    ses.delete_configuration_set_event_destination(ConfigurationSetName=configuration_set, EventDestinationName="d")
    found = ses.get_configuration_set_event_destinations(ConfigurationSetName=configuration_set)
    assert found["EventDestinations"] == []


def test_a_destination_without_a_topic_is_a_bad_request(sandbox: Sandbox, configuration_set: str):
    with pytest.raises(ClientError) as caught:
        sandbox.client("sesv2").create_configuration_set_event_destination(
            ConfigurationSetName=configuration_set,
            EventDestinationName="d",
            EventDestination={"SnsDestination": {"TopicArn": "arn:aws:sns:us-east-1:000000000000:none"}},
        )
    assert code(caught) == "BadRequestException"
