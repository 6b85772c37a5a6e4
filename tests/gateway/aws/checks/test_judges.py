"""What is said of each thing that AWS can show, as tables."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.aws.account import Account
from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.access import judge_clock, judge_identity, judge_refusal, judge_region
from gateway.aws.checks.account import judge_account, judge_quota
from gateway.aws.checks.asking import Situation, not_seen
from gateway.aws.checks.classic import judge_none_wired, judge_notifications
from gateway.aws.checks.configuration import judge_destinations, judge_set, judge_trust, topics_of
from gateway.aws.checks.everything import is_in_the_chain
from gateway.aws.checks.identities import (
    Details,
    Listed,
    details_of,
    judge_dkim,
    judge_identities,
    judge_mail_from,
    most_relevant,
)
from gateway.aws.checks.queues import judge_dead_letters, judge_queue, judge_queue_policy
from gateway.aws.checks.subscriptions import (
    Background,
    judge_patience,
    judge_raw,
    judge_subscription,
    patience,
    which_are_ours,
)
from gateway.aws.checks.topics import judge_policy, judge_topic
from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.plan import Found
from gateway.aws.provisioning.policies import DELIVERY_POLICY, queue_policy, topic_policy
from gateway.aws.provisioning.wanted import Kind
from gateway.findings import Level

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PLACE = Place("123456789012", "eu-west-1")
TOPIC = PLACE.arn("sns", "feedback")
QUEUE = PLACE.arn("sqs", "feedback")
SET = PLACE.arn("ses", "configuration-set/shop")
FINE = Account(
    max_send_rate=14.0,
    max_24_hour_send=1000.0,
    sent_last_24_hours=0.0,
    sending_enabled=True,
    production_access=True,
    enforcement_status="HEALTHY",
)
OK, WARNING, FAILED, SKIPPED = Level.OK, Level.WARNING, Level.FAILED, Level.SKIPPED


def says_what_to_do(finding):
    """Whoever is told of something wrong is told what to do; nobody else is."""
    return bool(finding.fix) is (finding.level in {WARNING, FAILED})


@pytest.mark.parametrize(
    ("minutes", "level"),
    [(0, OK), (4.9, OK), (-4.9, OK), (5.1, WARNING), (-14.9, WARNING), (15.1, FAILED), (20, FAILED), (-20, FAILED)],
)
def test_a_clock_is_wrong_from_five_minutes_on_and_of_no_use_from_fifteen(minutes, level):
    finding = judge_clock(NOW, NOW + timedelta(minutes=minutes))
    assert finding.level is level
    assert says_what_to_do(finding)


def test_without_an_answer_no_clock_is_judged():
    assert judge_clock(None, NOW).level is SKIPPED


@pytest.mark.parametrize(
    ("region", "endpoint", "topics", "level"),
    [
        ("eu-west-1", "https://email.eu-west-1.amazonaws.com", [TOPIC], OK),
        ("eu-west-1", "https://email.eu-west-1.amazonaws.com", [], OK),
        ("eu-west-1", "http://127.0.0.1:4566", [TOPIC, "nonsense"], OK),
        ("us-east-1", "https://email.us-east-1.amazonaws.com", [TOPIC], FAILED),
        ("eu-west-1", "https://email.us-east-1.amazonaws.com", [TOPIC], FAILED),
        ("eu-west-1", "http://x", [TOPIC, TOPIC.replace("eu-west-1", "us-east-1")], WARNING),
    ],
)
def test_the_region_is_that_of_the_endpoint_and_of_the_topics(region, endpoint, topics, level):
    finding = judge_region(region, endpoint, iter(topics))
    assert finding.level is level
    assert says_what_to_do(finding)
    if level is not OK:
        assert "AWS_REGION" in finding.seen


@pytest.mark.parametrize(
    ("account", "arn", "level"),
    [
        ("123456789012", "arn:aws:sts::123456789012:assumed-role/gateway/i-1", OK),
        ("123456789012", "arn:aws:iam::123456789012:root", WARNING),
        ("000000000000", "arn:aws:sts::000000000000:user/moto", OK),
    ],
)
def test_the_root_user_is_no_user_for_a_gateway(account, arn, level):
    assert judge_identity(Place(account, "eu-west-1"), arn).level is level


def test_a_refusal_is_told_with_its_fix():
    sentence = "AWS does not know this access key: check AWS_ACCESS_KEY_ID or the profile."
    finding = judge_refusal(AwsCallError(sentence, "InvalidClientTokenId", "sts:GetCallerIdentity"))
    assert finding.seen == "AWS does not know this access key"
    assert finding.fix == "Check AWS_ACCESS_KEY_ID or the profile."


@pytest.mark.parametrize(
    ("changed", "level", "word"),
    [
        ({}, OK, "production"),
        ({"enforcement_status": "SHUTDOWN", "sending_enabled": False}, FAILED, "SHUTDOWN"),
        ({"sending_enabled": False}, FAILED, "paused"),
        ({"enforcement_status": "PROBATION"}, WARNING, "PROBATION"),
        ({"production_access": False}, WARNING, "sandbox"),
    ],
)
def test_an_account_is_told_by_the_worst_of_it(changed, level, word):
    finding = judge_account(replace(FINE, **changed), "eu-west-1")
    assert finding.level is level
    assert word in finding.seen
    assert says_what_to_do(finding)


@pytest.mark.parametrize(
    ("sent", "most", "level"),
    [(0, 1000, OK), (800, 1000, OK), (801, 1000, WARNING), (1000, 1000, FAILED), (5, 0, FAILED), (10**9, -1, OK)],
)
def test_a_quota_is_a_warning_when_it_is_nearly_used_up_and_a_failure_then(sent, most, level):
    finding = judge_quota(replace(FINE, sent_last_24_hours=sent, max_24_hour_send=most))
    assert finding.level is level
    assert says_what_to_do(finding)


# Identities


def listed(*names):
    """A name with a question mark is not verified."""
    return [
        Listed(name.rstrip("?"), not name.endswith("?"), "PENDING" if name.endswith("?") else "SUCCESS")
        for name in names
    ]


@pytest.mark.parametrize(
    ("identities", "situation", "levels"),
    [
        ([], Situation(), [FAILED]),
        (["example.com?", "example.net?"], Situation(), [FAILED]),
        (["example.com"], Situation(), [OK]),
        (["example.com", "old.example.net?"], Situation(), [WARNING]),
        (["example.com"], Situation(senders=("app@shop.example.com",)), [OK]),
        (["example.com", "example.net?"], Situation(senders=("app@example.net",)), [OK, FAILED]),
        (["example.com"], Situation(senders=("app@example.org",)), [OK, WARNING]),
        (["example.com"], Situation(senders=("a@b.org",), rewrite_from="a@b.org"), [OK, FAILED]),
        (["you@example.com"], Situation(senders=("example.com",)), [OK, WARNING]),
        (["you@example.com"], Situation(senders=("you+label@example.com",)), [OK]),
    ],
)
def test_identities_are_judged_by_who_is_to_send(identities, situation, levels):
    found = judge_identities(listed(*identities), situation)
    assert [finding.level for finding in found] == levels
    assert all(map(says_what_to_do, found))


def test_without_an_identity_the_simulated_aws_takes_everybody(tmp_path):
    assert judge_identities([], Situation(pinned_certificate=tmp_path))[0].level is OK


def test_those_that_speak_for_a_sender_are_looked_at_first():
    many = listed(*(f"a{number}.org" for number in range(20)), "shop@example.net", "example.com")
    chosen = most_relevant(many, Situation(senders=("x@mail.example.com", "shop@example.net")))
    assert [one.name for one in chosen[:2]] == ["example.com", "shop@example.net"]
    assert len(chosen) == 8


@pytest.mark.parametrize(
    ("name", "status", "signs", "level"),
    [
        ("example.com", "SUCCESS", True, OK),
        ("example.com", "SUCCESS", False, WARNING),
        ("example.com", "FAILED", False, FAILED),
        ("example.com", "PENDING", True, WARNING),
        ("example.com", "TEMPORARY_FAILURE", True, WARNING),
        ("example.com", "NOT_STARTED", False, WARNING),
        ("you@example.com", "NOT_STARTED", False, OK),
    ],
)
def test_dkim(name, status, signs, level):
    finding = judge_dkim(Details(name, verified=True, dkim_status=status, dkim_signs=signs))
    assert finding.level is level
    assert says_what_to_do(finding)


@pytest.mark.parametrize(
    ("status", "rejects", "level"),
    [
        ("SUCCESS", True, OK),
        ("PENDING", False, WARNING),
        ("PENDING", True, FAILED),
        ("TEMPORARY_FAILURE", True, WARNING),
        ("FAILED", False, FAILED),
        ("FAILED", True, FAILED),
    ],
)
def test_mail_from(status, rejects, level):
    details = Details(
        "example.com", verified=True, mail_from="m.example.com", mail_from_status=status, mail_from_rejects=rejects
    )
    finding = judge_mail_from(details)
    assert finding.level is level
    assert says_what_to_do(finding)


def test_the_details_are_read_from_what_ses_answers():
    answer = {
        "VerifiedForSendingStatus": True,
        "DkimAttributes": {
            "Status": "FAILED",
            "SigningEnabled": False,
            "Tokens": ["a", "b", "c"],
            "SigningHostedZone": "dkim.eu.amazonses.com",
            "SigningAttributesOrigin": "AWS_SES",
        },
        "MailFromAttributes": {
            "MailFromDomain": "m.example.com",
            "MailFromDomainStatus": "FAILED",
            "BehaviorOnMxFailure": "REJECT_MESSAGE",
        },
    }
    assert details_of("example.com", answer) == Details(
        "example.com",
        verified=True,
        dkim_status="FAILED",
        dkim_tokens=("a", "b", "c"),
        dkim_zone="dkim.eu.amazonses.com",
        mail_from="m.example.com",
        mail_from_status="FAILED",
        mail_from_rejects=True,
    )
    assert details_of("example.com", {}) == Details("example.com", verified=False)


# Configuration set, event destination, topic

ALL = ["SEND", "DELIVERY", "BOUNCE", "COMPLAINT", "REJECT", "DELIVERY_DELAY", "RENDERING_FAILURE"]


def destination(*, topic=TOPIC, enabled=True, types=ALL, name="sesgate"):
    attributes = {"Enabled": enabled, "MatchingEventTypes": list(types), "TopicArn": topic}
    return Found(Kind.EVENT_DESTINATION, name, attributes, parent="shop")


@pytest.mark.parametrize(
    ("found", "level", "word"),
    [
        ([destination()], OK, "7 kinds"),
        ([], FAILED, "there is none"),
        ([destination(topic=None)], FAILED, "SNS topic"),
        ([destination(enabled=False)], FAILED, "disabled"),
        ([destination(enabled=False), destination(topic=TOPIC + "-crm", name="crm")], FAILED, "disabled"),
        ([destination(types=ALL[1:])], FAILED, "SEND"),
        ([destination(types=["SEND"])], FAILED, "DELIVERY, BOUNCE, COMPLAINT, REJECT"),
        ([destination(types=ALL[:5])], WARNING, "DELIVERY_DELAY"),
        ([destination(types=ALL[:3]), destination(types=ALL[3:], name="second")], OK, "second"),
        ([destination(types=["SEND"], topic=TOPIC + "-crm", name="crm"), destination()], OK, "sesgate reports"),
    ],
)
def test_event_destinations(found, level, word):
    finding = judge_destinations("shop", found, frozenset({TOPIC}))
    assert finding.level is level
    assert word in finding.seen
    assert says_what_to_do(finding)


def test_the_topics_to_look_at_are_those_that_are_trusted_and_else_all():
    crm = destination(topic=TOPIC + "-crm", name="crm")
    assert topics_of([crm, destination()], frozenset({TOPIC})) == [TOPIC]
    assert topics_of([crm], frozenset({TOPIC})) == [TOPIC + "-crm"]
    assert topics_of([destination(enabled=False)], frozenset({TOPIC})) == []


def test_a_topic_that_is_not_trusted_is_named_with_the_setting():
    finding = judge_trust("trust", [TOPIC], frozenset())
    assert finding.level is FAILED
    assert f"SESGATE_SNS_TOPIC_ARNS={TOPIC}" in finding.fix
    assert judge_trust("trust", [TOPIC], frozenset({TOPIC})).level is OK
    assert judge_trust("trust", [], frozenset({TOPIC})).level is SKIPPED


def test_a_set_that_is_missing_or_paused():
    assert judge_set("shop", None).level is FAILED
    assert judge_set("shop", Found(Kind.CONFIGURATION_SET, "shop", {"SendingEnabled": False})).level is FAILED
    assert judge_set("shop", Found(Kind.CONFIGURATION_SET, "shop", {"SendingEnabled": True})).level is OK


@pytest.mark.parametrize(
    ("attributes", "level"),
    [
        ({"SignatureVersion": "2"}, OK),
        ({}, WARNING),
        ({"SignatureVersion": "2", "KmsMasterKeyId": "alias/aws/sns"}, FAILED),
        ({"SignatureVersion": "2", "KmsMasterKeyId": "alias/ours"}, OK),
    ],
)
def test_topics(attributes, level):
    finding = judge_topic(TOPIC, attributes)
    assert finding.level is level
    assert says_what_to_do(finding)


def test_a_policy_lets_ses_publish_for_each_source_or_is_named():
    policy = json.dumps(topic_policy(TOPIC, PLACE.account, [SET]))
    assert judge_policy(TOPIC, {"Policy": policy}, [SET], PLACE.account).level is OK
    for sources, account, given in (
        ([SET, SET + "-other"], PLACE.account, policy),
        ([SET], "999999999999", policy),
        ([SET], PLACE.account, None),
    ):
        finding = judge_policy(TOPIC, {"Policy": given}, sources, account)
        assert finding.level is FAILED
        assert "AWS:SourceArn" in finding.fix


# Subscriptions


def subscription(endpoint="https://mail.example.com/sns", *, confirmed=True, **attributes):
    protocol = "sqs" if endpoint.startswith("arn:") else endpoint.partition(":")[0]
    shown = {"Protocol": protocol, "Endpoint": endpoint, "Confirmed": confirmed, **attributes}
    return Found(Kind.SUBSCRIPTION, endpoint, shown, arn=f"{TOPIC}:1" if confirmed else "", parent=TOPIC)


def heard(kind, *, reason="", program="webhook"):
    return {program: {kind: {"at": NOW.isoformat(), "topic": TOPIC, "reason": reason}}}


@pytest.mark.parametrize(
    ("found", "queue", "fact", "level", "word"),
    [
        ([subscription()], None, {}, OK, "confirmed"),
        ([subscription()], None, heard("notification"), OK, "last message came 2026-11-22"),
        ([subscription(QUEUE)], QUEUE, heard("notification", program="queue"), OK, "last message came"),
        ([], None, {}, FAILED, "nothing of this gateway is subscribed"),
        ([], None, heard("unsubscribed"), FAILED, "ended, as the webhook was told at 2026-11-22"),
        ([subscription(confirmed=False)], None, {}, FAILED, "nothing has reached the webhook"),
        ([subscription(confirmed=False)], None, heard("not-confirmed", reason="No."), FAILED, "could not confirm"),
        ([subscription(confirmed=False)], None, heard("refused", reason="Old."), FAILED, "refused it (Old)"),
        ([subscription(), subscription("https://old.example.com/sns", confirmed=False)], None, {}, WARNING, "pending"),
        ([subscription()], QUEUE, {}, WARNING, "queue that is read here is not subscribed"),
        ([subscription(QUEUE)], None, {}, FAILED, "others are"),
        ([subscription("mailto:x", confirmed=True)], None, {}, FAILED, "others are"),
        ([subscription(FilterPolicy={"a": ["b"]})], None, {}, WARNING, "filter policy"),
    ],
)
def test_subscriptions(found, queue, fact, level, word):
    finding = judge_subscription(TOPIC, which_are_ours(found, queue), Background(fact, queue))
    assert finding.level is level
    assert word in finding.seen
    assert says_what_to_do(finding)


def test_a_queue_that_is_subscribed_and_not_read_is_pointed_to():
    finding = judge_subscription(TOPIC, which_are_ours([subscription(QUEUE)], None), Background({}))
    assert "SESGATE_FEEDBACK_QUEUE_URL" in finding.fix


def test_our_webhook_is_known_by_its_path_and_taken_on_trust_without_one():
    pager = subscription("https://pager.example.com/hook")
    assert which_are_ours([pager, subscription()], None).webhooks == (subscription(),)
    assert which_are_ours([pager], None).webhooks == (pager,)


def test_raw_delivery_is_named_with_the_subscription():
    assert judge_raw(TOPIC, [subscription(RawMessageDelivery="false")]).level is OK
    finding = judge_raw(TOPIC, [subscription(RawMessageDelivery="true")])
    assert finding.level is FAILED
    assert f"--subscription-arn {TOPIC}:1" in finding.fix


def test_the_password_of_an_endpoint_is_not_told():
    finding = judge_raw(TOPIC, [subscription("https://sns:hunter2@mail.example.com/sns", RawMessageDelivery="true")])
    assert "hunter2" not in finding.seen
    assert "https://sns:****@mail.example.com/sns" in finding.seen


@pytest.mark.parametrize(
    ("attributes", "seconds", "level"),
    [
        ({}, 60, WARNING),
        ({"DeliveryPolicy": DELIVERY_POLICY}, 2740, OK),
        ({"EffectiveDeliveryPolicy": json.dumps(DELIVERY_POLICY)}, 2740, OK),
        ({"EffectiveDeliveryPolicy": '{"healthyRetryPolicy": {"numRetries": 0}}'}, 0, WARNING),
        ({"EffectiveDeliveryPolicy": '{"http": {"defaultHealthyRetryPolicy": {"numRetries": 30}}}'}, 600, OK),
        ({"EffectiveDeliveryPolicy": "nonsense"}, 60, WARNING),
    ],
)
def test_patience_is_what_every_back_off_lasts_at_least(attributes, seconds, level):
    assert patience(attributes) == seconds
    assert judge_patience(TOPIC, which_are_ours([subscription(**attributes)], None)).level is level


# Queues


def test_a_queue_without_dead_letters_is_a_warning():
    assert judge_queue({"RedrivePolicy": "{}"}).level is OK
    assert judge_queue({}).level is WARNING


def test_a_queue_lets_sns_in_or_is_named():
    policy = json.dumps(queue_policy(QUEUE, [TOPIC]))
    assert judge_queue_policy({"QueueArn": QUEUE, "Policy": policy}, [TOPIC], PLACE.account).level is OK
    assert judge_queue_policy({"QueueArn": QUEUE}, [TOPIC], PLACE.account).level is FAILED
    other = [TOPIC, TOPIC + "-other"]
    assert judge_queue_policy({"QueueArn": QUEUE, "Policy": policy}, other, PLACE.account).level is FAILED


def test_dead_letters_are_counted():
    policy = json.dumps(queue_policy(QUEUE, [TOPIC]))
    full = {"QueueArn": QUEUE, "Policy": policy, "ApproximateNumberOfMessages": "3"}
    empty = full | {"ApproximateNumberOfMessages": "0"}
    assert judge_dead_letters("dead letters", "url", empty, [TOPIC], PLACE.account).level is OK
    finding = judge_dead_letters("dead letters", "url", full, [TOPIC], PLACE.account)
    assert (finding.level, "3 messages" in finding.seen) == (WARNING, True)
    assert "sesgate feedback-queue redrive url" in finding.fix
    assert judge_dead_letters("dead letters", "url", empty | {"Policy": ""}, [TOPIC], PLACE.account).level is WARNING


# The weaker mode

WIRED = {
    **{f"{kind}Topic": TOPIC for kind in ("Bounce", "Complaint", "Delivery")},
    **{f"HeadersIn{kind}NotificationsEnabled": True for kind in ("Bounce", "Complaint", "Delivery")},
    "ForwardingEnabled": False,
}


@pytest.mark.parametrize(
    ("changed", "level", "word"),
    [
        ({}, OK, "with headers"),
        ({"BounceTopic": None}, FAILED, "bounces"),
        ({"ComplaintTopic": TOPIC + "-crm"}, FAILED, "not trusted"),
        ({"HeadersInBounceNotificationsEnabled": False}, WARNING, "headers for Bounce"),
        ({"DeliveryTopic": None}, WARNING, "SENT"),
        ({"ForwardingEnabled": True}, WARNING, "forwarding"),
    ],
)
def test_notifications_of_an_identity(changed, level, word):
    finding = judge_notifications("example.com", {**WIRED, **changed}, frozenset({TOPIC}))
    assert finding.level is level
    assert word in finding.seen
    assert says_what_to_do(finding)


def test_topics_that_nobody_could_read_are_not_called_untrusted():
    assert judge_notifications("example.com", WIRED, None).level is OK


def test_identities_that_report_nowhere_are_named():
    assert "--identity example.com" in judge_none_wired(["example.com"]).fix


@pytest.mark.parametrize(
    ("code", "level", "word"),
    [
        ("AccessDenied", WARNING, "may not call sns:GetTopicAttributes"),
        ("NotImplemented", SKIPPED, "does not know sns:GetTopicAttributes"),
        ("InternalFailure", WARNING, "could not be looked at"),
    ],
)
def test_what_could_not_be_seen_is_never_called_broken(code, level, word):
    finding = not_seen("topic", AwsCallError("A sentence.", code, "sns:GetTopicAttributes"))
    assert finding.level is level
    assert word in finding.seen
    assert says_what_to_do(finding)


@pytest.mark.parametrize(
    ("check", "is_in"),
    [
        ("clock", True),
        ("configuration set shop", True),
        ("webhook at https://mail.example.com/sns", True),
        ("subscription to feedback", True),
        ("policy of the feedback queue", True),
        ("account", False),
        ("quota", False),
        ("dead letters in feedback-dead", False),
        ("suppression list", False),
    ],
)
def test_what_breaks_the_way_of_a_report_is_its_cause_when_none_comes(check, is_in):
    assert is_in_the_chain(check) is is_in
