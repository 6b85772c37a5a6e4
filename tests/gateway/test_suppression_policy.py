from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.suppression_policy import Reason, decide, stronger


def feedback(kind: EventKind, **fields) -> Feedback:
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    return Feedback(kind=kind, ses_message_id="m", occurred_at=moment, address="a@example.com", **fields)


@pytest.mark.parametrize(
    ("bounce_type", "sub_type", "reason"),
    [
        ("Permanent", "General", Reason.BOUNCE),
        ("Permanent", "NoEmail", Reason.BOUNCE),
        ("Permanent", "Suppressed", Reason.BOUNCE),
        ("Permanent", "OnAccountSuppressionList", Reason.BOUNCE),
        ("Permanent", "OnTenantSuppressionList", Reason.BOUNCE),
        ("Permanent", "EmailValidationSuppressed", Reason.BOUNCE),
        ("Permanent", "UnsubscribedRecipient", Reason.UNSUBSCRIBE),
        ("Permanent", "OfTomorrow", Reason.BOUNCE),
        ("Permanent", None, Reason.BOUNCE),
        ("Transient", "General", None),
        ("Transient", "MailboxFull", None),
        ("Transient", "MessageTooLarge", None),
        ("Transient", "ContentRejected", None),
        ("Transient", "AttachmentRejected", None),
        ("Transient", "CustomTimeoutExceeded", None),
        ("Transient", "UnsubscribedRecipient", None),
        ("Undetermined", "Undetermined", None),
    ],
)
def test_a_bounce_is_decided_by_its_type(bounce_type, sub_type, reason):
    assert decide(feedback(EventKind.BOUNCE, bounce_type=BounceType(bounce_type), sub_type=sub_type)) is reason


def test_a_transient_bounce_with_a_permanent_status_code_does_not_suppress():
    assert decide(feedback(EventKind.BOUNCE, bounce_type=BounceType.TRANSIENT, status_code="5.4.4")) is None


@pytest.mark.parametrize(
    ("complaint_type", "reason"),
    [
        ("abuse", Reason.COMPLAINT),
        ("fraud", Reason.COMPLAINT),
        ("other", Reason.COMPLAINT),
        ("virus", Reason.COMPLAINT),
        ("of-tomorrow", Reason.COMPLAINT),
        ("", Reason.COMPLAINT),
        (None, Reason.COMPLAINT),
        ("not-spam", None),
        ("Not-Spam", None),
        ("auth-failure", None),
    ],
)
def test_a_complaint_suppresses_unless_it_is_the_opposite_of_one(complaint_type, reason):
    assert decide(feedback(EventKind.COMPLAINT, complaint_type=complaint_type)) is reason


@pytest.mark.parametrize("sub_type", ["OnAccountSuppressionList", "OnTenantSuppressionList"])
def test_a_complaint_that_echoes_a_list_is_mirrored(sub_type):
    assert decide(feedback(EventKind.COMPLAINT, sub_type=sub_type)) is Reason.COMPLAINT


@pytest.mark.parametrize("kind", sorted(set(EventKind) - {EventKind.BOUNCE, EventKind.COMPLAINT}))
def test_no_other_event_suppresses(kind):
    assert decide(feedback(kind, bounce_type=BounceType.PERMANENT, sub_type="UnsubscribedRecipient")) is None


@pytest.mark.parametrize(
    ("current", "new", "stays"),
    [
        (None, Reason.BOUNCE, Reason.BOUNCE),
        (None, Reason.MANUAL, Reason.MANUAL),
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
