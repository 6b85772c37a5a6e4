from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.feedback import EventKind
from gateway.silence import Policy
from gateway.store.silence import Silence
from gateway.store.times import from_micros, now_micros, span
from tests.gateway.store.test_notifications import apply, bounce, feedback, stored
from tests.support.mail import accept, begun, change, rows

MINUTE = span(timedelta(minutes=1))


def take(stores, *, minutes_ago, address="a@example.com", credential="local"):
    """SES takes a mail so long ago; its attempt id."""
    (id_,) = accept(stores, address, credential=credential)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, f"ses-{id_}")
    at = now_micros() - minutes_ago * MINUTE
    change(stores, "UPDATE attempts SET started_at = ?, finished_at = ? WHERE recipient_id = ?", at, at, id_)
    change(stores, "UPDATE recipients SET counted_at = ? WHERE id = ? AND counted_at IS NOT NULL", at, id_)
    return claim.attempt_id


def report(stores, attempt_id=None, *, minutes_ago, kind=EventKind.SEND, **fields):
    """A report that was stored so long ago."""
    apply(stores, feedback(kind, attempt_id, **{"ses_message_id": f"of {attempt_id}"} | fields))
    at = now_micros() - minutes_ago * MINUTE
    change(stores, "UPDATE events SET stored_at = ? WHERE id = (SELECT max(id) FROM events)", at)


def quiet(stores):
    return stores.silence.listen().quiet


def test_a_gateway_that_sends_nothing_is_not_silent(stores):
    assert (stores.silence.listen().last_report_at, quiet(stores)) == (None, ())
    report(stores, minutes_ago=9_000, ses_message_id="of-another-system")
    accept(stores)
    assert quiet(stores) == ()
    assert now_micros() - 9_001 * MINUTE < span(stores.silence.listen().last_report_at - from_micros(0))


def test_an_installation_that_never_received_a_report_says_so(stores):
    take(stores, minutes_ago=29)
    assert quiet(stores) == ()
    take(stores, minutes_ago=31, address="success@simulator.amazonses.com")
    (found,) = quiet(stores)
    assert (found.configuration_set, found.has_ever) == (None, False)
    assert found.since < from_micros(now_micros() - 30 * MINUTE)


def test_silence_begins_with_the_first_mail_since_the_last_report(stores):
    report(stores, take(stores, minutes_ago=90), minutes_ago=89)
    take(stores, minutes_ago=60)
    take(stores, minutes_ago=5)
    (found,) = quiet(stores)
    assert (found.configuration_set, found.has_ever) == (None, True)
    assert abs(span(found.since - from_micros(now_micros() - 60 * MINUTE))) < MINUTE


@pytest.mark.parametrize("whose", ["a mail of ours", "another system's mail"])
def test_any_report_ends_it(stores, whose):
    attempt_id = take(stores, minutes_ago=60)
    assert quiet(stores)
    report(stores, attempt_id if whose == "a mail of ours" else None, minutes_ago=0, ses_message_id="other")
    assert quiet(stores) == ()
    assert stores.reports.gauges().inbox.last_event_age < 60


def test_reports_that_wait_to_be_understood_are_a_backlog_and_no_silence(stores):
    take(stores, minutes_ago=60)
    id_ = stored(stores)
    assert quiet(stores) == ()
    stores.notifications.park(id_, "no event")
    assert quiet(stores)


def test_a_report_that_is_stored_before_the_answer_of_ses_is_one(stores):
    report(stores, take(stores, minutes_ago=60), minutes_ago=61)
    assert quiet(stores) == ()


def test_what_ses_did_not_take_is_not_waited_for(stores):
    refused, lost = accept(stores, "a@example.com", "b@example.com")
    stores.sending.refused(begun(stores, refused), "never")
    stores.sending.ambiguous(begun(stores, lost), "no answer")
    change(stores, "UPDATE attempts SET started_at = 1, finished_at = 1")
    assert quiet(stores) == ()


def test_reports_of_a_clock_that_was_ahead_hide_nothing_once_they_are_corrected(stores):
    report(stores, take(stores, minutes_ago=-60), minutes_ago=-60)
    take(stores, minutes_ago=40)
    assert quiet(stores) == ()
    change(stores, "UPDATE events SET stored_at = ? WHERE stored_at > 1", now_micros() - 50 * MINUTE)
    assert quiet(stores)


def test_with_identity_feedback_only_deliveries_that_came_once_promise_more(stores):
    identity = Silence(stores.db, Policy(span(timedelta(minutes=30)), promised=False))
    report(stores, take(stores, minutes_ago=90), minutes_ago=89, kind=EventKind.DELIVERY_DELAY)
    take(stores, minutes_ago=60)
    assert (identity.listen().promised, identity.listen().quiet) == (False, ())
    report(stores, take(stores, minutes_ago=88), minutes_ago=87, kind=EventKind.DELIVERY, address="a@example.com")
    assert (identity.listen().promised, len(identity.listen().quiet)) == (True, 1)


def with_set(stores, name, configuration_set):
    stores.credentials.add(name, actor="jane", configuration_set=configuration_set)


def test_a_configuration_set_of_its_own_is_listened_to_by_itself(stores):
    with_set(stores, "shop", "marketing")
    report(stores, take(stores, minutes_ago=60, credential="shop"), minutes_ago=59)
    take(stores, minutes_ago=50, credential="shop")
    report(stores, take(stores, minutes_ago=1), minutes_ago=0)
    (found,) = quiet(stores)
    assert (found.configuration_set, found.has_ever) == ("marketing", True)
    assert abs(span(found.since - from_micros(now_micros() - 50 * MINUTE))) < MINUTE
    report(stores, take(stores, minutes_ago=2, credential="shop"), minutes_ago=1)
    assert quiet(stores) == ()


def test_the_set_of_the_installation_is_silent_although_another_is_reported_on(stores):
    with_set(stores, "shop", "marketing")
    take(stores, minutes_ago=50)
    report(stores, take(stores, minutes_ago=60, credential="shop"), minutes_ago=0)
    assert [(one.configuration_set, one.has_ever) for one in quiet(stores)] == [("", False)]


def test_what_is_silent_as_a_whole_is_told_once(stores):
    with_set(stores, "shop", "marketing")
    take(stores, minutes_ago=50)
    take(stores, minutes_ago=50, credential="shop")
    assert [one.configuration_set for one in quiet(stores)] == [None]


def test_a_late_report_on_an_old_mail_of_a_set_is_a_sign_of_life(stores):
    with_set(stores, "shop", "marketing")
    old = take(stores, minutes_ago=500, credential="shop")
    take(stores, minutes_ago=50, credential="shop")
    report(stores, take(stores, minutes_ago=1), minutes_ago=0)
    assert quiet(stores)
    apply(stores, bounce(old))
    assert quiet(stores) == ()


def test_the_metrics_tell_it(stores):
    take(stores, minutes_ago=60)
    inbox = stores.reports.gauges().inbox
    assert (inbox.feedback_silent, inbox.last_event_age, inbox.evidence_silent) == (True, float("inf"), False)
    assert rows(stores, "SELECT 1 FROM events") == []
