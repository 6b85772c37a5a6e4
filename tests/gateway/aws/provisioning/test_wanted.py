from __future__ import annotations

import pytest

from gateway.aws.provisioning import outcome
from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.wanted import Kind, wanted

PLACE = Place("123456789012", "eu-west-1")
URL = "https://user:s3cret@mail.example.com/sns"


def kinds(options):
    return [resource.kind for resource in wanted(options, PLACE)]


def of(kind, options, place=PLACE):
    return [resource for resource in wanted(options, place) if resource.kind is kind]


def test_the_order_is_that_in_which_each_finds_what_it_needs():
    assert kinds(Options(webhook_url=URL, queue=True)) == [
        Kind.TOPIC,
        Kind.QUEUE,
        Kind.QUEUE,
        Kind.CONFIGURATION_SET,
        Kind.EVENT_DESTINATION,
        Kind.TRUST,
        Kind.SUBSCRIPTION,
        Kind.SUBSCRIPTION,
    ]


def test_a_webhook_alone_has_a_queue_for_what_it_never_took():
    options = Options(webhook_url=URL)
    (dead,) = of(Kind.QUEUE, options)
    (subscription,) = of(Kind.SUBSCRIPTION, options)
    assert dead.name == "sesgate-production-feedback-dead"
    assert dead.attributes["Policy"]["Statement"][0]["Principal"] == {"Service": "sns.amazonaws.com"}
    assert subscription.attributes["RedrivePolicy"] == {"deadLetterTargetArn": dead.arn}
    assert "DeliveryPolicy" in subscription.attributes


def test_a_queue_alone_lets_nobody_put_anything_into_its_dead_letter_queue():
    dead, queue = of(Kind.QUEUE, Options(queue=True))
    assert "Policy" not in dead.attributes
    assert queue.attributes["RedrivePolicy"] == {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 20}
    assert queue.attributes["MessageRetentionPeriod"] == "1209600"


def test_no_subscription_is_raw_or_filtered():
    for subscription in of(Kind.SUBSCRIPTION, Options(webhook_url=URL, queue=True)):
        assert subscription.attributes["RawMessageDelivery"] == "false"
        assert subscription.attributes["FilterPolicy"] == {}


def test_a_password_is_in_the_endpoint_and_nowhere_else():
    (subscription,) = of(Kind.SUBSCRIPTION, Options(webhook_url=URL))
    assert subscription.endpoint == URL
    assert "s3cret" not in repr(subscription)
    assert subscription.title == "subscription of https://user:****@mail.example.com/sns to sesgate-production-feedback"


def test_opens_and_clicks_are_reported_only_on_demand_because_ses_changes_mail_for_them():
    (plain,) = of(Kind.EVENT_DESTINATION, Options(queue=True))
    (tracked,) = of(Kind.EVENT_DESTINATION, Options(queue=True, tracks_opens_and_clicks=True))
    assert set(tracked.attributes["MatchingEventTypes"]) - set(plain.attributes["MatchingEventTypes"]) == {
        "OPEN",
        "CLICK",
    }
    assert len(tracked.attributes["MatchingEventTypes"]) == 10


def test_the_classic_wiring_has_a_topic_for_each_kind_and_no_set():
    options = Options(webhook_url=URL, classic=True, environment="test", identities=("example.com", "a@example.net"))
    topics = of(Kind.TOPIC, options)
    assert [topic.name for topic in topics] == [
        "ses-bounces-topic-test",
        "ses-complaints-topic-test",
        "ses-deliveries-topic-test",
    ]
    sources = topics[0].attributes["Policy"]["Statement"][0]["Condition"]["StringEquals"]["AWS:SourceArn"]
    assert sources == [f"arn:aws:ses:eu-west-1:123456789012:identity/{name}" for name in options.identities]
    assert not of(Kind.CONFIGURATION_SET, options)
    first, _ = of(Kind.IDENTITY, options)
    assert first.attributes["BounceTopic"].endswith(":ses-bounces-topic-test")
    assert first.attributes["HeadersInDeliveryNotificationsEnabled"] is True
    assert first.attributes["ForwardingEnabled"] is False
    assert len(of(Kind.SUBSCRIPTION, options)) == 3
    assert len(of(Kind.TRUST, options)[0].attributes["arns"]) == 3


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_other_partitions_have_their_own_arns(region, partition):
    place = Place("123456789012", region, partition)
    for resource in wanted(Options(webhook_url=URL, queue=True), place):
        assert "arn:aws:" not in repr(resource) + resource.endpoint
    assert of(Kind.TOPIC, Options(queue=True), place)[0].arn.startswith(f"arn:{partition}:sns:{region}:")


def test_the_lines_for_the_environment_are_those_of_the_mode():
    assert outcome.settings(Options(webhook_url=URL), PLACE, None) == {
        "AWS_REGION": "eu-west-1",
        "SESGATE_SES_CONFIGURATION_SET": "sesgate-production",
        "SESGATE_SNS_TOPIC_ARNS": "arn:aws:sns:eu-west-1:123456789012:sesgate-production-feedback",
    }
    classic = Options(queue=True, classic=True, identities=("example.com",))
    lines = outcome.settings(classic, PLACE, None)
    assert lines["SESGATE_FEEDBACK"] == "identity"
    assert "SESGATE_SES_CONFIGURATION_SET" not in lines
    assert lines["SESGATE_FEEDBACK_QUEUE_URL"] == (
        "https://sqs.eu-west-1.amazonaws.com/123456789012/sesgate-production-feedback"
    )
    assert outcome.settings(classic, PLACE, "http://q")["SESGATE_FEEDBACK_QUEUE_URL"] == "http://q"


def test_the_weaker_mode_and_addresses_with_settings_of_their_own_are_warned_of():
    options = Options(queue=True, classic=True, identities=("example.com",))
    weaker, own = outcome.classic_warnings(options, ["example.com", "shop@Example.com", "a@example.net"])
    assert "weaker mode" in weaker
    assert own.startswith("shop@Example.com:")
    assert outcome.classic_warnings(Options(queue=True), ["shop@example.com"]) == []


def test_identities_that_the_account_does_not_have_are_named():
    options = Options(queue=True, classic=True, identities=("Example.com", "example.net"))
    assert outcome.missing_identities(options, ["example.com"]) == ["example.net"]
