from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.store import ended as ended_rows
from gateway.store import retention
from gateway.store.control import RETENTION
from gateway.store.erasure import Erasure
from gateway.store.times import now_micros, span
from gateway.suppression_policy import Reason
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


@pytest.mark.parametrize("end", ["processed", "parked"])
def test_notifications_lose_their_text_after_14_days_and_their_id_after_30(stores, end):
    id_ = stored(stores)
    if end == "processed":
        stores.notifications.apply(id_, (), wait_for_match=False)
    else:
        stores.notifications.park(id_, "unknown kind")
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


def test_a_report_that_waits_to_be_understood_is_kept_however_old(stores):
    waiting, postponed = stored(stores), stored(stores)
    stores.notifications.postpone(postponed, "no attempt has the SES message id", timedelta(hours=1))
    change(stores, "UPDATE notifications SET received_at = 1, next_attempt_at = 1")
    assert run(stores) == {}
    assert [stores.notifications.read(id_).message for id_ in (waiting, postponed)] == ["{}", "{}"]
    assert stores.notifications.has_due()


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


# The walks over what ended


def messages_of(stores, count):
    return [accept(stores)[0] for _ in range(count)]


def test_what_waits_for_another_recipient_does_not_hold_up_what_comes_after_it(stores, monkeypatch):
    monkeypatch.setattr(ended_rows, "LOOK", 2)
    for _ in range(5):
        over, _waiting = accept(stores, "a@example.com", "b@example.com")
        ended(stores, over, "DELIVERED", timedelta(days=60))
    (last,) = accept(stores)
    ended(stores, last, "DELIVERED", timedelta(days=4))
    assert run(stores) == {"contents": 1}
    assert left(stores, "contents") == 5
    assert run(stores) == {}


def test_each_recipient_is_looked_at_once(stores, monkeypatch):
    over, _waiting = accept(stores, "a@example.com", "b@example.com")
    ended(stores, over, "DELIVERED", timedelta(days=4))
    run(stores)
    seen = []
    monkeypatch.setattr(stores.retention, "_delete_contents", lambda *_: seen.append(True) or (0, True))
    run(stores)
    assert seen == []


def test_what_ended_together_goes_in_batches(stores, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    ids = messages_of(stores, 5)
    for id_ in ids:
        ended(stores, id_, "DELIVERED", timedelta(days=91))
    change(stores, "UPDATE recipients SET ended_at = (SELECT min(ended_at) FROM recipients)")
    assert [run(stores) for _ in range(4)] == [
        {"contents": 2, "messages": 2},
        {"contents": 2, "messages": 2},
        {"contents": 1, "messages": 1},
        {},
    ]


def test_one_message_with_more_recipients_than_a_look_takes_goes_too(stores, monkeypatch):
    monkeypatch.setattr(ended_rows, "LOOK", 2)
    for id_ in accept(stores, *(f"n{number}@example.com" for number in range(7))):
        ended(stores, id_, "DELIVERED", timedelta(days=4))
    assert run(stores) == {"contents": 1}


def test_a_walk_that_is_further_than_the_time_begins_anew(stores):
    """The clock was ahead when it came there, or the setting was raised since."""
    (id_,) = accept(stores)
    ended(stores, id_, "DELIVERED", timedelta(days=4))
    stores.control.put(RETENTION, {"contents": [now_micros(), 7]})
    assert run(stores) == {"contents": 1}


def test_what_failed_and_was_delivered_after_all_goes_72_hours_after_that(stores):
    (id_,) = accept(stores)
    ended(stores, id_, "FAILED", timedelta(days=5))
    assert run(stores) == {}
    ended(stores, id_, "DELIVERED", timedelta(days=4))
    assert run(stores) == {"contents": 1}


def test_the_message_of_somebody_who_was_erased_goes_with_its_other_recipients(stores):
    stays, erased = accept(stores, "a@example.com", "b@example.com")
    ended(stores, stays, "DELIVERED", timedelta(days=91))
    run(stores)
    erasure = Erasure(stores.db)
    traces = erasure.find(parse_mailbox("b@example.com"))
    assert traces.recipients == (erased,)
    erasure.erase(traces, cancel=True, forget_suppression=False, actor="jane")
    assert run(stores)["messages"] == 1
    assert left(stores, "messages") == 0


def test_rows_go_in_batches_and_the_rest_the_next_time(stores, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(3):
        stored(stores)
    change(stores, "UPDATE notifications SET received_at = 1, message = NULL")
    assert run(stores) == {"notifications": 2}
    assert run(stores) == {"notifications": 1}


def test_suppressions_of_the_past_go_as_events_do_and_those_in_force_stay(stores):
    for name in "abc":
        mailbox = parse_mailbox(f"{name}@example.com")
        stores.suppressions.add(mailbox, Reason.MANUAL, source="", detail="", actor="jane")
        if name != "c":
            stores.suppressions.remove(mailbox, why="works again", actor="jane")
    old = span(timedelta(days=91))
    change(stores, "UPDATE suppression_history SET ended_at = ended_at - ? WHERE address_key = 'a@example.com'", old)
    change(stores, "UPDATE suppressions SET since = since - ?, created_at = created_at - ?", old, old)
    assert run(stores) == {"suppression_history": 1}
    assert run(stores) == {}
    assert rows(stores, "SELECT address FROM suppression_history") == [("b@example.com",)]
    assert [one.address for one in stores.suppressions.list()] == ["c@example.com"]
