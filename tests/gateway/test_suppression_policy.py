from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.settings import read_settings
from gateway.suppression_policy import (
    Policy,
    Reason,
    Ruling,
    Sighting,
    find_listed,
    find_struck,
    rule,
    rule_of,
    stronger,
)


def feedback(kind: EventKind, **fields) -> Feedback:
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    return Feedback(kind=kind, ses_message_id="m", occurred_at=moment, address="a@example.com", **fields)


BOUNCES = Ruling(Reason.BOUNCE)
LISTED = Ruling(Reason.GLOBAL_LIST)
ECHO = Ruling(Reason.BOUNCE, echo=True)
STRIKE = Ruling(strike=True)
NOTHING = Ruling()


@pytest.mark.parametrize(
    ("bounce_type", "sub_type", "ruling"),
    [
        ("Permanent", "General", BOUNCES),
        ("Permanent", "NoEmail", BOUNCES),
        ("Permanent", "Suppressed", LISTED),
        ("Permanent", "EmailValidationSuppressed", LISTED),
        ("Permanent", "OnAccountSuppressionList", ECHO),
        ("Permanent", "OnTenantSuppressionList", ECHO),
        ("Permanent", "UnsubscribedRecipient", Ruling(Reason.UNSUBSCRIBE)),
        ("Permanent", "ContentRejected", NOTHING),
        ("Permanent", "OfTomorrow", BOUNCES),
        ("Permanent", None, BOUNCES),
        ("Transient", "General", STRIKE),
        ("Transient", "MailboxFull", STRIKE),
        ("Transient", "MessageTooLarge", NOTHING),
        ("Transient", "ContentRejected", NOTHING),
        ("Transient", "AttachmentRejected", NOTHING),
        ("Transient", "CustomTimeoutExceeded", NOTHING),
        ("Transient", "Suppressed", STRIKE),
        ("Transient", "OfTomorrow", STRIKE),
        ("Transient", None, STRIKE),
        ("Undetermined", "Undetermined", STRIKE),
        ("Undetermined", "MessageTooLarge", NOTHING),
        ("Undetermined", None, STRIKE),
    ],
)
def test_a_bounce_is_ruled_by_its_subtype_if_that_is_known_and_else_by_its_type(bounce_type, sub_type, ruling):
    report = feedback(EventKind.BOUNCE, bounce_type=BounceType(bounce_type), sub_type=sub_type)
    assert rule(report) == ruling
    assert rule_of("Bounce", bounce_type, sub_type, None) == ruling


def test_a_transient_bounce_with_a_permanent_status_code_is_a_strike():
    assert rule(feedback(EventKind.BOUNCE, bounce_type=BounceType.TRANSIENT, status_code="5.4.4")) == STRIKE


@pytest.mark.parametrize("complaint_type", ["abuse", "fraud", "other", "virus", "of-tomorrow", "", None])
def test_a_complaint_suppresses(complaint_type):
    assert rule(feedback(EventKind.COMPLAINT, complaint_type=complaint_type)) == Ruling(Reason.COMPLAINT)


@pytest.mark.parametrize("complaint_type", ["not-spam", "Not-Spam", "auth-failure"])
def test_a_complaint_that_is_none_does_nothing(complaint_type):
    assert rule(feedback(EventKind.COMPLAINT, complaint_type=complaint_type)) == NOTHING


@pytest.mark.parametrize("sub_type", ["OnAccountSuppressionList", "OnTenantSuppressionList"])
def test_a_complaint_that_echoes_a_list_is_mirrored(sub_type):
    assert rule(feedback(EventKind.COMPLAINT, sub_type=sub_type)) == Ruling(Reason.COMPLAINT, echo=True)


@pytest.mark.parametrize("kind", sorted(set(EventKind) - {EventKind.BOUNCE, EventKind.COMPLAINT}))
def test_no_other_event_counts_against_an_address(kind):
    assert rule(feedback(kind, bounce_type=BounceType.PERMANENT, sub_type="UnsubscribedRecipient")) == NOTHING


def test_the_reasons_rise_from_what_passes_to_what_a_person_wants():
    rising = ["soft-bounce", "global-list", "bounce", "manual", "unsubscribe", "complaint"]
    assert [reason.value for reason in sorted(Reason, key=lambda reason: reason.rank)] == rising


@pytest.mark.parametrize(
    ("current", "new", "stays"),
    [
        (None, Reason.BOUNCE, Reason.BOUNCE),
        (None, Reason.MANUAL, Reason.MANUAL),
        (Reason.SOFT_BOUNCE, Reason.GLOBAL_LIST, Reason.GLOBAL_LIST),
        (Reason.GLOBAL_LIST, Reason.SOFT_BOUNCE, Reason.GLOBAL_LIST),
        (Reason.GLOBAL_LIST, Reason.BOUNCE, Reason.BOUNCE),
        (Reason.BOUNCE, Reason.GLOBAL_LIST, Reason.BOUNCE),
        (Reason.BOUNCE, Reason.MANUAL, Reason.MANUAL),
        (Reason.BOUNCE, Reason.COMPLAINT, Reason.COMPLAINT),
        (Reason.MANUAL, Reason.BOUNCE, Reason.MANUAL),
        (Reason.MANUAL, Reason.UNSUBSCRIBE, Reason.UNSUBSCRIBE),
        (Reason.UNSUBSCRIBE, Reason.BOUNCE, Reason.UNSUBSCRIBE),
        (Reason.UNSUBSCRIBE, Reason.MANUAL, Reason.UNSUBSCRIBE),
        (Reason.UNSUBSCRIBE, Reason.COMPLAINT, Reason.COMPLAINT),
        (Reason.COMPLAINT, Reason.BOUNCE, Reason.COMPLAINT),
        (Reason.COMPLAINT, Reason.MANUAL, Reason.COMPLAINT),
        (Reason.COMPLAINT, Reason.UNSUBSCRIBE, Reason.COMPLAINT),
    ],
)
def test_the_stronger_reason_stays(current, new, stays):
    assert stronger(current, new) is stays


def test_the_order_of_reasons_does_not_matter_in_the_end():
    outcomes = set()
    for order in itertools.permutations(Reason):
        reason = None
        for new in order:
            reason = stronger(reason, new)
        outcomes.add(reason)
    assert outcomes == {Reason.COMPLAINT}


# How many, how soon, how long

BEGIN = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy(soft_bounces=3, window=2 * DAY, lasting={Reason.SOFT_BOUNCE: 4 * DAY, Reason.GLOBAL_LIST: None})


def sightings(*days, mail=None):
    """One a day given, each of a mail of its own unless there is but one."""
    return [Sighting(number, mail or f"m-{number}", BEGIN + day * DAY) for number, day in enumerate(days)]


@pytest.mark.parametrize(
    ("days", "began", "ends"),
    [
        ((), None, None),
        ((0, 1), None, None),
        ((0, 1, 1.9), 1.9, 5.9),
        ((0, 1, 2), None, None),  # the first is no longer in the window
        ((0, 1, 2, 2.5), 2.5, 6.5),
        ((0, 0.5, 1, 1.5), 1, 5.5),  # one more prolongs
        ((0, 0.5, 1, 10, 10.5, 11), 11, 15),  # what was over begins anew
        ((0, 0.5, 1, 3, 3.5, 4.5), 1, 8.5),  # not yet over
    ],
)
def test_strikes_within_the_window_suppress_from_the_one_that_reaches_the_limit(days, began, ends):
    for order in ([*sightings(*days)], [*reversed(sightings(*days))]):
        found = find_struck(order, POLICY)
        assert (found and found.began.occurred_at) == (None if began is None else BEGIN + began * DAY)
        assert (found and found.expires_at) == (None if ends is None else BEGIN + ends * DAY)


def test_one_mail_is_one_strike():
    assert find_struck(sightings(0, 0.1, 0.2, 0.3, mail="one"), POLICY) is None


def test_the_global_list_suppresses_at_its_first_word():
    found = find_listed(sightings(5, 3), POLICY)
    assert (found.reason, found.began.occurred_at) == (Reason.GLOBAL_LIST, BEGIN + 3 * DAY)
    assert found.expires_at is None
    assert find_listed([], POLICY) is None


def test_the_policy_is_what_the_settings_say():
    chosen = {"SESGATE_SOFT_BOUNCES": "2", "SESGATE_SUPPRESS_BOUNCE": "30d", "SESGATE_SUPPRESS_GLOBAL_LIST": "Never"}
    policy = Policy.from_settings(read_settings(chosen))
    assert (policy.soft_bounces, policy.window) == (2, 7 * DAY)
    lasting = {reason: policy.expires(reason, BEGIN) for reason in Reason}
    assert lasting == {
        Reason.SOFT_BOUNCE: BEGIN + 14 * DAY,
        Reason.GLOBAL_LIST: None,
        Reason.BOUNCE: BEGIN + 30 * DAY,
        Reason.MANUAL: None,
        Reason.UNSUBSCRIBE: None,
        Reason.COMPLAINT: None,
    }
