from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.aws.provisioning.hearing import diagnosis, latest, spoken

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:sesgate-production-feedback"
URL = "https://mail.example.com/sns"


def record(kind, *, ago=0, topic=TOPIC, reason=""):
    return {"kind": kind, "at": (NOW - timedelta(seconds=ago)).isoformat(), "topic": topic, "reason": reason}


def hear(fact, ago=60):
    return latest(fact, frozenset({TOPIC}), NOW - timedelta(seconds=ago))


@pytest.mark.parametrize("fact", [None, {}, {"webhook": None}, {"webhook": {"refused": "x"}}, {"queue": {}}])
def test_when_nothing_was_heard_the_way_from_the_internet_is_asked_about(fact):
    assert hear(fact) is None
    assert f"is {URL} reachable from the internet?" in spoken(None, URL)
    assert f"curl -i {URL}" in diagnosis(None, URL)


def test_the_last_of_several_kinds_counts():
    kinds = {"notification": record("notification", ago=30), "refused": record("refused", ago=5, reason="Unknown.")}
    heard = hear({"webhook": kinds})
    assert heard is not None
    assert heard.kind == "refused"
    assert spoken(heard, URL) == "a message reached the webhook, which refused it (Unknown)"


def test_a_single_record_and_microseconds_are_read_as_well():
    heard = hear({"webhook": {"kind": "later", "at": int(NOW.timestamp() * 1_000_000), "topic": TOPIC}})
    assert heard is not None
    assert heard.at == NOW


def test_what_was_heard_before_or_of_another_topic_is_no_answer():
    assert hear({"webhook": record("refused", ago=120)}) is None
    assert hear({"webhook": record("confirmed", topic=TOPIC + "-other")}) is None
    assert hear({"webhook": record("refused", topic="")}) is not None
    assert hear({"webhook": {"kind": "refused", "at": "yesterday"}}) is None


@pytest.mark.parametrize("kind", ["confirmed", "not-confirmed", "refused", "later", "unsubscribed", "notification"])
def test_every_kind_has_a_meaning_and_an_advice(kind):
    heard = hear({"webhook": record(kind)})
    assert "the webhook" in spoken(heard, URL)
    assert diagnosis(heard, URL).endswith(".")


def test_a_webhook_that_may_not_confirm_is_told_what_it_lacks():
    assert "sns:ConfirmSubscription" in diagnosis(hear({"webhook": record("not-confirmed")}), URL)
