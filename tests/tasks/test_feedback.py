from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from gateway.store import events
from gateway.store.errors import StoreUnavailableError
from gateway.store.notifications import NewNotification, Notifications
from gateway.suppression_policy import Reason
from tasks.feedback import FeedbackProcessor
from tests.support.mail import accept, begun, change, claimed, rows, status
from tests.support.payloads import ses


@pytest.fixture
def processor(stores):
    return FeedbackProcessor(stores.notifications)


def stored(stores, message, sns_message_id="sns-1"):
    text = message if isinstance(message, str) else json.dumps(message)
    made = NewNotification(sns_message_id, "arn:aws:sns:us-east-1:1:t", text, datetime.now(UTC))
    return stores.notifications.store(made)


def sent(stores, ses_message_id=ses.MESSAGE_ID, attempt_id=ses.ATTEMPT_ID):
    (id_,) = accept(stores, ses.RECIPIENT)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, ses_message_id)
    change(stores, f"UPDATE attempts SET attempt_id = ? WHERE recipient_id = {id_}", attempt_id)
    return id_


def delivery():
    return ses.event("Delivery", delivery={"timestamp": "2026-11-21T22:11:00.000Z", "recipients": [ses.RECIPIENT]})


def identity_delivery(**members):
    made = ses.notification(
        "Delivery", delivery={"timestamp": "2026-11-21T22:11:00.000Z", "recipients": [ses.RECIPIENT]}
    )
    made["mail"].update(members)
    return made


def test_an_event_becomes_a_status_and_the_notification_is_done(stores, processor):
    id_ = sent(stores)
    notification = stored(stores, delivery())
    processor.process(notification)
    processor.process(notification)
    assert status(stores, id_) == "DELIVERED"
    assert rows(stores, "SELECT count(*) FROM events") == [(1,)]
    assert rows(stores, "SELECT processed_at IS NULL, error FROM notifications") == [(0, "")]


def test_the_id_that_smtp_answered_leads_to_each_event_and_each_event_to_its_notification(stores, processor):
    id_ = sent(stores)
    ((ulid,),) = rows(stores, "SELECT ulid FROM messages")
    first, second = stored(stores, delivery(), "sns-1"), stored(stores, delivery(), "sns-2")
    with capture_logs() as lines:
        processor.process(first)
        processor.process(second)
    about = {
        "message_id": ulid,
        "recipient": ses.RECIPIENT,
        "kind": "Delivery",
        "status": "DELIVERED",
        "attempt_id": ses.ATTEMPT_ID,
        "log_level": "info",
    }
    assert lines == [
        {"event": "feedback.processed", "notification_id": first, **about},
        {"event": "feedback.repeated", "notification_id": second, **about},
    ]
    assert status(stores, id_) == "DELIVERED"


def test_whom_an_early_report_names_is_not_mailed_while_it_waits_for_its_mail(stores, processor):
    bounced = {"bounceType": "Permanent", "bounceSubType": "General", "feedbackId": "f", "bouncedRecipients": []}
    bounced["bouncedRecipients"].append({"emailAddress": ses.RECIPIENT})
    early = stored(stores, ses.notification("Bounce", bounce=bounced | {"timestamp": "2026-11-21T22:11:00.000Z"}))
    (id_,) = accept(stores, ses.RECIPIENT)
    processor.process(early)
    assert stores.sending.begin_attempt(claimed(stores, id_)).reason is Reason.BOUNCE
    assert rows(stores, "SELECT processed_at FROM notifications") == [(None,)]


@pytest.mark.parametrize("far", [timedelta(hours=2), timedelta(days=-1)])
def test_a_clock_that_jumped_makes_no_report_wait_for_longer(stores, processor, far):
    notification = stored(stores, identity_delivery())
    change(stores, "UPDATE notifications SET received_at = received_at - ?", far // timedelta(microseconds=1))
    processor.process(notification)
    assert rows(stores, "SELECT processed_at IS NULL FROM notifications") == [(0,)]


@pytest.mark.parametrize(
    "message", ["", "hello", "[]", '{"eventType": "Sunrise"}', '{"eventType": "Bounce"}', "{" * 9999]
)
def test_what_is_no_event_is_parked_with_the_reason(stores, processor, message):
    notification = stored(stores, message)
    processor.process(notification)
    ((processed, next_attempt, error),) = rows(stores, "SELECT processed_at, next_attempt_at, error FROM notifications")
    assert (processed, next_attempt) == (None, None)
    assert error
    assert not stores.notifications.has_due()


def test_a_topic_being_tested_is_processed_and_says_nothing(stores, processor):
    processor.process(stored(stores, ses.CONFIRMED_TOPIC_TEXT))
    assert rows(stores, "SELECT processed_at IS NULL FROM notifications") == [(0,)]
    assert rows(stores, "SELECT count(*) FROM events") == [(0,)]


def test_a_report_that_is_ahead_of_our_record_is_postponed_and_matched_later(stores, processor):
    notification = stored(stores, identity_delivery())
    processor.process(notification)
    ((processed, later, error),) = rows(
        stores, "SELECT processed_at, next_attempt_at - received_at, error FROM notifications"
    )
    assert processed is None
    assert 5_000_000 < later < 60_000_000
    assert ses.MESSAGE_ID in error
    id_ = sent(stores)
    processor.process(notification)
    assert status(stores, id_) == "DELIVERED"
    assert rows(stores, "SELECT error FROM notifications") == [("",)]


def test_a_report_that_nobody_matches_is_stored_after_five_minutes(stores, processor):
    notification = stored(stores, identity_delivery())
    change(stores, "UPDATE notifications SET received_at = received_at - ?", 299_000_000)
    processor.process(notification)
    assert rows(stores, "SELECT count(*) FROM events") == [(0,)]
    change(stores, "UPDATE notifications SET received_at = received_at - ?", 2_000_000)
    processor.process(notification)
    assert rows(stores, "SELECT recipient_id, ses_message_id FROM events") == [(None, ses.MESSAGE_ID)]
    assert rows(stores, "SELECT processed_at IS NULL FROM notifications") == [(0,)]


def test_an_unknown_id_is_nothing_to_do(processor):
    processor.process(12345)


@pytest.mark.parametrize("method", ["read_all", "apply_all"])
def test_a_database_that_is_away_leaves_it_for_later(stores, processor, monkeypatch, method):
    notification = stored(stores, delivery())

    def away(*_args, **_kwargs):
        raise StoreUnavailableError("busy")

    with monkeypatch.context() as patched:
        patched.setattr(Notifications, method, away)
        processor.process(notification)
    id_ = sent(stores)
    processor.process(notification)
    assert status(stores, id_) == "DELIVERED"


def test_those_of_a_task_share_commits_and_one_that_fails_harms_no_other(stores, processor, monkeypatch):
    about = [sent(stores, f"ses-{number}", f"{number:032x}") for number in range(30)]
    messages = [delivery_of(f"{number:032x}") for number in range(30)]
    messages[3] = "no event"
    messages[4] = identity_delivery(messageId="of nobody yet")
    ids = [stored(stores, message, f"sns-{number}") for number, message in enumerate(messages)]
    commits = counted_commits(stores, monkeypatch)
    monkeypatch.setattr(events, "happen", failing_for(about[7], events.happen))
    processor.process(*ids, ids[0], 12345)
    set_aside = dict(rows(stores, "SELECT id, error FROM notifications WHERE processed_at IS NULL"))
    assert set(set_aside) == {ids[3], ids[4], ids[7]}
    assert "could not be processed" in set_aside[ids[7]]
    delivered = [id_ for number, id_ in enumerate(about) if number not in {3, 4, 7}]
    assert [status(stores, id_) for id_ in delivered] == ["DELIVERED"] * 27
    assert status(stores, about[7]) == "SENT"
    assert len(commits) < 15


def test_one_that_cannot_be_set_aside_is_left_for_later_and_the_next_are_processed(stores, processor, monkeypatch):
    id_ = sent(stores)
    early, late = stored(stores, identity_delivery(messageId="x"), "sns-1"), stored(stores, delivery(), "sns-2")

    def broken(*_args):
        raise ValueError("unforeseen")

    monkeypatch.setattr(Notifications, "await_match", broken)
    processor.process(early, late)
    assert status(stores, id_) == "DELIVERED"
    ((error,),) = rows(stores, "SELECT error FROM notifications WHERE processed_at IS NULL")
    assert "could not be processed" in error


def delivery_of(attempt_id):
    made = delivery()
    made["mail"]["tags"]["sesgate-attempt"] = [attempt_id]
    return made


def counted_commits(stores, monkeypatch):
    commits, transaction = [], stores.db._writer._transaction

    def counted():
        commits.append(None)
        return transaction()

    monkeypatch.setattr(stores.db._writer, "_transaction", counted)
    return commits


def failing_for(recipient_id, happen):
    def fail(sql, id_, *rest):
        if id_ == recipient_id:
            raise ValueError("unforeseen")
        return happen(sql, id_, *rest)

    return fail
