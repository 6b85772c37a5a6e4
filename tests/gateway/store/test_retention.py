from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.store import retention
from gateway.store.times import now_micros, span
from tests.gateway.store.test_notifications import apply, bounce, stored
from tests.support.mail import accept, begun, change, column, lease_of, rows

ENDED = ("DELIVERED", "BOUNCED", "SUPPRESSED", "CANCELLED")


def run(stores):
    return {kind: count for kind, count in stores.retention.run(lease_of(stores)).items() if count}


def ended(stores, id_, status, ago):
    """As if the message had been accepted, and its recipient had ended, that long ago."""
    at = now_micros() - span(ago)
    change(stores, "UPDATE recipients SET status = ?, ended_at = ?, changed_at = ? WHERE id = ?", status, at, at, id_)
    change(stores, "UPDATE messages SET accepted_at = ? WHERE id = ?", at, column(stores, id_, "message_id"))


def left(stores, table):
    return rows(stores, f"SELECT count(*) FROM {table}")[0][0]


@pytest.mark.parametrize("status", ENDED)
def test_content_goes_72_hours_after_the_end(stores, status):
    (id_,) = accept(stores)
    ended(stores, id_, status, timedelta(hours=71))
    assert run(stores) == {}
    ended(stores, id_, status, timedelta(hours=73))
    assert run(stores) == {"contents": 1}
    assert left(stores, "contents") == 0
    assert left(stores, "messages") == left(stores, "recipients") == 1


@pytest.mark.parametrize("status", ["FAILED", "EXPIRED"])
def test_content_of_what_failed_is_kept_seven_days(stores, status):
    (id_,) = accept(stores)
    ended(stores, id_, status, timedelta(days=6))
    assert run(stores) == {}
    ended(stores, id_, status, timedelta(days=8))
    assert run(stores) == {"contents": 1}


def test_content_is_kept_while_one_recipient_has_not_ended(stores):
    first, second = accept(stores, "a@example.com", "b@example.com")
    ended(stores, first, "DELIVERED", timedelta(days=60))
    assert run(stores) == {}
    ended(stores, second, "FAILED", timedelta(days=4))
    assert run(stores) == {}
    ended(stores, second, "FAILED", timedelta(days=8))
    assert run(stores) == {"contents": 1}


@pytest.mark.parametrize("status", ["SENT", "DELAYED", "SOFT_BOUNCED"])
def test_what_ses_has_and_nothing_more_is_heard_of_is_final_after_14_days(stores, status):
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET status = ?, changed_at = changed_at - ?", status, span(timedelta(days=13)))
    assert run(stores) == {}
    change(stores, "UPDATE recipients SET changed_at = changed_at - ?", span(timedelta(days=2)))
    assert run(stores) == {"ended": 1}
    assert column(stores, id_, "status") == status
    assert run(stores) == {}


@pytest.mark.parametrize("status", ["QUEUED", "SENDING", "AMBIGUOUS", "HELD"])
def test_what_ses_does_not_have_never_ends_by_retention(stores, status):
    accept(stores)
    change(stores, "UPDATE recipients SET status = ?, changed_at = 1", status)
    change(stores, "UPDATE messages SET accepted_at = 1")
    assert run(stores) == {}
    assert left(stores, "contents") == 1


def test_a_later_event_revives_what_was_final_with_age(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, "ses-1")
    change(stores, "UPDATE recipients SET changed_at = 1")
    assert run(stores) == {"ended": 1}
    apply(stores, bounce(claim.attempt_id))
    assert column(stores, id_, "status") == "BOUNCED"


def test_notifications_lose_their_text_after_14_days_and_their_id_after_30(stores):
    id_ = stored(stores)
    change(stores, "UPDATE notifications SET received_at = received_at - ?", span(timedelta(days=13)))
    assert run(stores) == {}
    change(stores, "UPDATE notifications SET received_at = received_at - ?", span(timedelta(days=2)))
    assert run(stores) == {"notification_texts": 1}
    assert stores.notifications.read(id_) is None
    assert not stores.notifications.has_due()
    assert run(stores) == {}
    change(stores, "UPDATE notifications SET received_at = received_at - ?", span(timedelta(days=16)))
    assert run(stores) == {"notifications": 1}
    assert left(stores, "notifications") == 0


def test_a_message_goes_with_everything_after_90_days(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, "ses-1")
    apply(stores, bounce(claim.attempt_id))
    ended(stores, id_, "BOUNCED", timedelta(days=89))
    run(stores)
    assert left(stores, "messages") == 1
    ended(stores, id_, "BOUNCED", timedelta(days=91))
    assert run(stores) == {"messages": 1}
    assert [left(stores, table) for table in ("messages", "recipients", "attempts", "events", "contents")] == [0] * 5
    assert left(stores, "suppressions") == 1


def test_an_event_that_nobody_matches_goes_after_90_days(stores):
    apply(stores, bounce(ses_message_id="ses-unknown"))
    change(stores, "UPDATE events SET stored_at = stored_at - ?", span(timedelta(days=89)))
    assert run(stores) == {}
    change(stores, "UPDATE events SET stored_at = stored_at - ?", span(timedelta(days=2)))
    assert run(stores) == {"events": 1}


def test_an_event_outlives_its_notification(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, "ses-1")
    apply(stores, bounce(claim.attempt_id))
    change(stores, "UPDATE notifications SET received_at = 1")
    run(stores)
    assert left(stores, "notifications") == 0
    assert rows(stores, "SELECT notification_id FROM events") == [(None,)]


def test_rows_go_in_batches_and_the_rest_the_next_time(stores, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(3):
        stored(stores)
    change(stores, "UPDATE notifications SET received_at = 1, message = NULL")
    assert run(stores) == {"notifications": 2}
    assert run(stores) == {"notifications": 1}
