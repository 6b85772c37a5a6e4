"""Notifications of identities, the older of SES's two formats, beside the events of configuration sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.sandbox import names, topic_policy
from tests.gateway.sandbox.receiver import Receiver
from tests.gateway.sandbox.test_simulator import send
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

DOMAIN = "example.com"


@pytest.fixture
def topic(sandbox: Sandbox) -> Iterator[str]:
    """A topic that SES may publish to for any identity, and that nobody but the test's listener is subscribed to."""
    sns = sandbox.client("sns")
    arn = f"arn:aws:sns:us-east-1:{names.ACCOUNT_ID}:identities"
    policy = topic_policy.for_ses(arn, names.ACCOUNT_ID, f"arn:aws:ses:us-east-1:{names.ACCOUNT_ID}:identity/*")
    sns.create_topic(Name="identities", Attributes={"Policy": policy})
    yield arn
    sns.delete_topic(TopicArn=arn)


@pytest.fixture
def listener(sandbox: Sandbox, topic: str) -> Iterator[Receiver]:
    with Receiver() as receiver:
        sns = sandbox.client("sns")
        arn = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url, ReturnSubscriptionArn=True)

        def confirmed() -> bool:
            shown = sns.get_subscription_attributes(SubscriptionArn=arn["SubscriptionArn"])["Attributes"]
            return bool(shown["PendingConfirmation"] == "false")

        until(confirmed, what="the subscription is confirmed")
        yield receiver
        sns.delete_topic(TopicArn=topic)


@pytest.fixture
def ses(sandbox: Sandbox) -> Any:
    sandbox.client("sesv2").create_email_identity(EmailIdentity=DOMAIN)
    return sandbox.client("ses")


def shown(ses: Any, identity: str = DOMAIN) -> dict[str, Any]:
    return dict(ses.get_identity_notification_attributes(Identities=[identity])["NotificationAttributes"][identity])


def set_topics(ses: Any, topic: str, *kinds: str, identity: str = DOMAIN) -> None:
    for kind in kinds:
        ses.set_identity_notification_topic(Identity=identity, NotificationType=kind, SnsTopic=topic)


def notifications(listener: Receiver, message_id: str) -> list[dict[str, Any]]:
    about = (json.loads(envelope["Message"]) for envelope in listener.envelopes())
    return [told for told in about if told.get("mail", {}).get("messageId") == message_id]


def notification(listener: Receiver, message_id: str, kind: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((one for one in notifications(listener, message_id) if one["notificationType"] == kind), None)

    return until(found, what=f"a {kind} notification") or {}


def test_a_topic_gets_a_test_message_when_it_is_set(ses: Any, topic: str, listener: Receiver):
    set_topics(ses, topic, "Bounce")

    envelope = until(listener.envelopes, what="the test message")[0]
    told = json.loads(envelope["Message"])
    assert told["notificationType"] == "AmazonSnsSubscriptionSucceeded"
    assert "mail" not in told
    assert f"'{topic}'" in told["message"]
    assert f"'{DOMAIN}'" in told["message"]


def test_a_bounce_comes_in_both_formats_with_one_feedback_id(
    sandbox: Sandbox, webhook: Receiver, ses: Any, topic: str, listener: Receiver
):
    set_topics(ses, topic, "Bounce", "Complaint", "Delivery")
    message_id = send(sandbox, "bounce@simulator.amazonses.com", "success@simulator.amazonses.com")

    bounce = notification(listener, message_id, "Bounce")
    until(lambda: webhook.event_types(message_id) == ["Bounce", "Delivery", "Send"], what="the events")
    (event,) = [one for one in webhook.events() if one["mail"]["messageId"] == message_id and "bounce" in one]
    assert set(bounce) == {"notificationType", "mail", "bounce"}
    assert bounce["bounce"].pop("remoteMtaIp")
    assert bounce["bounce"] == event["bounce"]
    mail = bounce["mail"]
    assert (mail["sourceIp"], mail["callerIdentity"]) == ("127.0.0.1", "sandbox")
    assert mail["sourceArn"] == f"arn:aws:ses:us-east-1:{names.ACCOUNT_ID}:identity/{DOMAIN}"
    assert not {"tags", "headers", "headersTruncated", "commonHeaders"} & set(mail)
    assert notification(listener, message_id, "Delivery")["delivery"]["remoteMtaIp"]
    assert {one["notificationType"] for one in notifications(listener, message_id)} == {"Bounce", "Delivery"}


def test_headers_come_only_with_the_types_they_are_enabled_for(
    sandbox: Sandbox, ses: Any, topic: str, listener: Receiver
):
    set_topics(ses, topic, "Bounce", "Delivery")
    ses.set_identity_headers_in_notifications_enabled(Identity=DOMAIN, NotificationType="Bounce", Enabled=True)
    message_id = send(sandbox, "ooto@simulator.amazonses.com")

    mail = notification(listener, message_id, "Bounce")["mail"]
    assert {"name": "X-Sesgate-Attempt", "value": "abc"} in mail["headers"]
    assert mail["commonHeaders"]["messageId"] == "<original@example.com>"
    assert "headers" not in notification(listener, message_id, "Delivery")["mail"]
    ses.set_identity_headers_in_notifications_enabled(Identity=DOMAIN, NotificationType="Bounce", Enabled=False)
    assert shown(ses)["HeadersInBounceNotificationsEnabled"] is False


def test_notifications_need_no_configuration_set(sandbox: Sandbox, ses: Any, topic: str, listener: Receiver):
    set_topics(ses, topic, "Complaint")
    sent = sandbox.client("sesv2").send_email(
        Content={"Raw": {"Data": b"From: a@example.com\r\n\r\nx\r\n"}},
        Destination={"ToAddresses": ["complaint@simulator.amazonses.com"]},
    )
    told = notification(listener, sent["MessageId"], "Complaint")
    assert told["complaint"]["complaintFeedbackType"] == "abuse"


def test_an_address_goes_before_its_domain(sandbox: Sandbox, ses: Any, topic: str, listener: Receiver):
    """The address has no topic, so nobody hears; its domain's topic counts for the other senders only."""
    sandbox.client("sesv2").create_email_identity(EmailIdentity="a@example.com")
    set_topics(ses, topic, "Bounce")
    silent = send(sandbox, "bounce@simulator.amazonses.com")
    raw = b"From: b@example.com\r\n\r\nx\r\n"
    notification(listener, send(sandbox, "bounce@simulator.amazonses.com", raw=raw), "Bounce")

    assert notifications(listener, silent) == []


def test_forwarding_goes_off_only_with_topics_for_bounces_and_complaints(sandbox: Sandbox, ses: Any, topic: str):
    off = {"Identity": DOMAIN, "ForwardingEnabled": False}
    set_topics(ses, topic, "Bounce")
    with pytest.raises(ClientError) as caught:
        ses.set_identity_feedback_forwarding_enabled(**off)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
    v2 = sandbox.client("sesv2")
    with pytest.raises(ClientError) as caught:
        v2.put_email_identity_feedback_attributes(EmailIdentity=DOMAIN, EmailForwardingEnabled=False)
    assert caught.value.response["Error"]["Code"] == "BadRequestException"

    set_topics(ses, topic, "Complaint")
    ses.set_identity_feedback_forwarding_enabled(**off)
    assert shown(ses)["ForwardingEnabled"] is False
    assert v2.get_email_identity(EmailIdentity=DOMAIN)["FeedbackForwardingStatus"] is False
    with pytest.raises(ClientError):
        ses.set_identity_notification_topic(Identity=DOMAIN, NotificationType="Bounce")

    v2.put_email_identity_feedback_attributes(EmailIdentity=DOMAIN, EmailForwardingEnabled=True)
    ses.set_identity_notification_topic(Identity=DOMAIN, NotificationType="Bounce")
    assert shown(ses) == {
        "ComplaintTopic": topic,
        "ForwardingEnabled": True,
        "HeadersInBounceNotificationsEnabled": False,
        "HeadersInComplaintNotificationsEnabled": False,
        "HeadersInDeliveryNotificationsEnabled": False,
    }


@pytest.mark.parametrize("deleted", [True, False])
def test_a_topic_that_cannot_be_published_to_is_given_up_for_mail(
    sandbox: Sandbox, ses: Any, topic: str, deleted: bool
):
    set_topics(ses, topic, "Bounce", "Complaint", "Delivery")
    ses.set_identity_feedback_forwarding_enabled(Identity=DOMAIN, ForwardingEnabled=False)
    sns = sandbox.client("sns")
    if deleted:
        sns.delete_topic(TopicArn=topic)
    else:
        policy = topic_policy.default(topic, names.ACCOUNT_ID)
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    send(sandbox, "bounce@simulator.amazonses.com", "success@simulator.amazonses.com")

    now = shown(ses)
    assert now["ForwardingEnabled"] is True
    assert {name for name in now if name.endswith("Topic")} == {"ComplaintTopic", "DeliveryTopic"}


def test_what_cannot_be_is_refused(sandbox: Sandbox, ses: Any, topic: str):
    sns = sandbox.client("sns")
    closed = sns.create_topic(Name="closed")["TopicArn"]
    for identity, kind, arn in (
        ("missing.example", "Bounce", topic),
        (DOMAIN, "Open", topic),
        (DOMAIN, "Bounce", f"{topic}-missing"),
        (DOMAIN, "Bounce", ""),
        (DOMAIN, "Bounce", closed),
    ):
        with pytest.raises(ClientError) as caught:
            set_topics(ses, arn, kind, identity=identity)
        assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert ses.get_identity_notification_attributes(Identities=["no.example"])["NotificationAttributes"] == {}
    sns.delete_topic(TopicArn=closed)


def test_identities_and_configuration_sets_are_tagged(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    tags = [{"Key": "sesgate", "Value": "yes"}]
    ses.create_email_identity(EmailIdentity="tagged.example", Tags=tags)
    ses.create_configuration_set(ConfigurationSetName="tagged", Tags=tags)
    assert ses.get_email_identity(EmailIdentity="tagged.example")["Tags"] == tags
    assert ses.get_configuration_set(ConfigurationSetName="tagged")["Tags"] == tags
    for kind, name in (("identity", "tagged.example"), ("configuration-set", "tagged")):
        arn = f"arn:aws:ses:us-east-1:{names.ACCOUNT_ID}:{kind}/{name}"
        ses.tag_resource(ResourceArn=arn, Tags=[{"Key": "more", "Value": "1"}])
        ses.untag_resource(ResourceArn=arn, TagKeys=["sesgate"])
        assert ses.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "more", "Value": "1"}]
        with pytest.raises(ClientError) as caught:
            ses.list_tags_for_resource(ResourceArn=f"{arn}-missing")
        assert caught.value.response["Error"]["Code"] == "NotFoundException"
    ses.delete_configuration_set(ConfigurationSetName="tagged")
    ses.create_configuration_set(ConfigurationSetName="tagged")
    assert ses.get_configuration_set(ConfigurationSetName="tagged")["Tags"] == []
    ses.delete_configuration_set(ConfigurationSetName="tagged")


def test_the_default_set_of_an_identity_keeps_its_topics_and_has_to_exist(sandbox: Sandbox, ses: Any, topic: str):
    set_topics(ses, topic, "Bounce")
    v2 = sandbox.client("sesv2")
    put = v2.put_email_identity_configuration_set_attributes
    put(EmailIdentity=DOMAIN, ConfigurationSetName="sesgate")
    assert v2.get_email_identity(EmailIdentity=DOMAIN)["ConfigurationSetName"] == "sesgate"
    assert shown(ses)["BounceTopic"] == topic
    with pytest.raises(ClientError) as caught:
        put(EmailIdentity=DOMAIN, ConfigurationSetName="missing")
    assert caught.value.response["Error"]["Code"] == "NotFoundException"
    put(EmailIdentity=DOMAIN)
    assert "ConfigurationSetName" not in v2.get_email_identity(EmailIdentity=DOMAIN)


def test_events_stop_when_the_topics_policy_no_longer_lets_ses_publish(sandbox: Sandbox, webhook: Receiver):
    sns = sandbox.client("sns")
    policy = sns.get_topic_attributes(TopicArn=names.TOPIC_ARN)["Attributes"]["Policy"]
    wrong = topic_policy.default(names.TOPIC_ARN, names.ACCOUNT_ID)
    sns.set_topic_attributes(TopicArn=names.TOPIC_ARN, AttributeName="Policy", AttributeValue=wrong)
    before = len(sandbox.notifications())
    send(sandbox, "success@simulator.amazonses.com")
    assert len(sandbox.notifications()) == before
    sns.set_topic_attributes(TopicArn=names.TOPIC_ARN, AttributeName="Policy", AttributeValue=policy)
