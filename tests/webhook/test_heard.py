from __future__ import annotations

import json
import threading
from contextlib import contextmanager

import pytest

from gateway.store.errors import StoreError, StoreUnavailableError
from tests.support.sns import TOPIC_ARN
from tests.support.waiting import until
from tests.webhook.support import SIGNER, Webhook
from webhook.confirm import ConfirmError
from webhook.heard import Heard, Seen

OTHER = TOPIC_ARN + "-other"


@contextmanager
def heard(write, every=0.01):
    made = Heard(write, every=every)
    try:
        yield made
    finally:
        made.stop()


def test_the_newest_of_each_kind_is_written_by_another_thread():
    written, threads = {}, set()

    def write(records):
        written.update(records)
        threads.add(threading.current_thread())

    with heard(write) as made:
        made.note(Seen.REFUSED, TOPIC_ARN, "first")
        made.note(Seen.REFUSED, TOPIC_ARN, "second")
        made.note(Seen.NOTIFICATION, TOPIC_ARN, "")
        until(lambda: set(written) == {"refused", "notification"} and written["refused"].reason == "second")
    assert threading.current_thread() not in threads


def test_a_flood_is_one_write_until_the_time_is_over():
    writes = []
    with heard(writes.append, every=3600) as made:
        made.note(Seen.REFUSED, "", "the first")
        until(lambda: writes)
        for _ in range(1000):
            made.note(Seen.REFUSED, "", "one of many")
    assert len(writes) == 1


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), ValueError("unforeseen")])
def test_a_write_that_fails_is_forgotten_and_the_next_is_tried(error):
    written = []

    def write(records):
        if not written:
            written.append(None)
            raise error
        written.append(records)

    with heard(write) as made:
        made.note(Seen.LATER, TOPIC_ARN, "lost")
        until(lambda: written)
        made.note(Seen.CONFIRMED, TOPIC_ARN, "")
        until(lambda: len(written) == 2)
    assert set(written[1]) == {"confirmed"}


def test_a_long_reason_is_cut():
    written = {}
    with heard(written.update) as made:
        made.note(Seen.REFUSED, "", "x" * 5000)
        until(lambda: written)
    assert len(written["refused"].reason) == 300


# What the webhook makes of requests


class Ear:
    """Notes what the inbox says, at once."""

    def __init__(self):
        self.heard = []
        self.webhook = Webhook(hear=lambda *seen: self.heard.append(seen))


@pytest.fixture
def ear():
    return Ear()


def test_a_notification_is_heard_whether_it_is_new_or_not(ear):
    body = SIGNER.notification("hello")
    for _ in range(2):
        assert ear.webhook.post(body).status_code == 200
    assert ear.heard == [(Seen.NOTIFICATION, TOPIC_ARN, "")] * 2


def test_a_confirmation_is_heard_and_so_is_one_that_failed(ear):
    ear.webhook.post(SIGNER.subscription_confirmation())
    ear.webhook.confirm_error = ConfirmError("no permission")
    ear.webhook.post(SIGNER.subscription_confirmation())
    assert ear.heard == [(Seen.CONFIRMED, TOPIC_ARN, ""), (Seen.NOT_CONFIRMED, TOPIC_ARN, "no permission")]


def test_the_end_of_a_subscription_is_heard(ear):
    ear.webhook.post(SIGNER.unsubscribe_confirmation())
    assert ear.heard == [(Seen.UNSUBSCRIBED, TOPIC_ARN, "")]


def test_a_database_that_is_away_is_heard_as_later(ear):
    ear.webhook.store.error = StoreError("away")
    ear.webhook.post(SIGNER.notification("hello"))
    assert ear.heard == [(Seen.LATER, TOPIC_ARN, "away")]


def test_another_topic_is_heard_under_the_name_that_it_claims(ear):
    ear.webhook.post(SIGNER.notification("hello", TopicArn=OTHER))
    ((kind, topic, reason),) = ear.heard
    assert (kind, topic) == (Seen.REFUSED, OTHER)
    assert "SESGATE_SNS_TOPIC_ARNS" in reason


def test_a_forged_message_of_a_known_topic_is_heard(ear):
    envelope = json.loads(SIGNER.notification("hello")) | {"Message": "changed"}
    ear.webhook.post(json.dumps(envelope).encode())
    ((kind, topic, reason),) = ear.heard
    assert (kind, topic) == (Seen.REFUSED, TOPIC_ARN)
    assert "does not fit" in reason


@pytest.mark.parametrize("headers", [{"x-amz-sns-rawdelivery": "true"}, {}])
def test_raw_delivery_is_heard(ear, headers):
    body = json.dumps({"eventType": "Send", "mail": {}}).encode()
    ear.webhook.post(body, headers)
    ((kind, topic, reason),) = ear.heard
    assert (kind, topic) == (Seen.REFUSED, "")
    assert reason.startswith("Raw message delivery")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"TopicArn": "come and get it"}'])
def test_what_strangers_send_is_not_heard(ear, body):
    assert ear.webhook.post(body).status_code == 403
    assert ear.heard == []
