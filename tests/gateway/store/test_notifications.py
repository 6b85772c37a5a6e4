from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.lifecycle import Status
from gateway.store.events import Applied, UnmatchedError
from gateway.store.notifications import NewNotification
from gateway.suppression_policy import Reason
from tests.support.mail import accept, begun, change, column, lease_of, rows, status

AT = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
_numbers = count()


def notification(sns_message_id: str | None = None) -> NewNotification:
    return NewNotification(sns_message_id or f"sns-{next(_numbers)}", "arn:aws:sns:us-east-1:1:t", "{}", AT)


def stored(stores):
    return stores.notifications.store(notification())


def apply(stores, *feedbacks, wait_for_match=False):
    """How many of the reports were new."""
    applied = stores.notifications.apply(stored(stores), feedbacks, wait_for_match=wait_for_match)
    return sum(one.new for one in applied)


def feedback(kind, attempt_id=None, *, minute=0, **fields):
    return Feedback(
        kind=kind,
        ses_message_id=fields.pop("ses_message_id", "ses-1"),
        occurred_at=AT + timedelta(minutes=minute),
        attempt_id=attempt_id,
        **fields,
    )


def bounce(attempt_id=None, address="a@example.com", **fields):
    permanent = {"bounce_type": BounceType.PERMANENT, "sub_type": "General", "feedback_id": f"f-{next(_numbers)}"}
    return feedback(EventKind.BOUNCE, attempt_id, address=address, **permanent | fields)


def complaint(attempt_id=None, address="a@example.com", **fields):
    return feedback(EventKind.COMPLAINT, attempt_id, address=address, feedback_id=f"f-{next(_numbers)}", **fields)


def suppressed(stores):
    return {
        address: (reason, detail)
        for address, reason, detail in rows(stores, "SELECT address, reason, detail FROM suppressions")
    }


def sent(stores, *addresses):
    claims = [begun(stores, id_) for id_ in accept(stores, *addresses or ("a@example.com",))]
    for number, claim in enumerate(claims):
        stores.sending.accepted(claim, f"ses-{number + 1}")
    return claims[0] if len(claims) == 1 else claims


# The inbox


def test_a_notification_that_sns_repeats_is_stored_once(stores):
    first = stores.notifications.store(notification("sns-x"))
    assert isinstance(first, int)
    assert stores.notifications.store(notification("sns-x")) is None
    assert stores.notifications.submit(notification("sns-x")).result(timeout=30) is None
    assert rows(stores, "SELECT count(*) FROM notifications") == [(1,)]


def test_a_stored_notification_is_read_until_it_is_processed(stores):
    id_ = stored(stores)
    assert stores.notifications.read(id_).message == "{}"
    assert stores.notifications.apply(id_, (), wait_for_match=True) == ()
    assert stores.notifications.read(id_) is None
    assert stores.notifications.read(999) is None


def test_what_nobody_took_up_is_due_after_a_grace_and_marked_once(stores):
    id_ = stored(stores)
    lease = lease_of(stores)
    assert not stores.notifications.has_due()
    change(stores, "UPDATE notifications SET next_attempt_at = 1")
    assert stores.notifications.has_due()
    assert stores.notifications.mark_due(lease, 10) == [(id_, False)]
    assert not stores.notifications.has_due()
    assert stores.notifications.mark_due(lease, 10) == []
    change(stores, "UPDATE notifications SET dispatched_until = 1")
    assert stores.notifications.mark_due(lease, 10) == [(id_, True)]
    stores.notifications.apply(id_, (), wait_for_match=False)
    assert not stores.notifications.has_due()


def test_a_parked_notification_stays_unprocessed_and_is_not_tried_again(stores):
    id_ = stored(stores)
    stores.notifications.park(id_, "it is no event")
    change(stores, "UPDATE notifications SET received_at = 1")
    assert not stores.notifications.has_due()
    assert rows(stores, "SELECT error, processed_at, next_attempt_at FROM notifications") == [
        ("it is no event", None, None)
    ]


def test_a_postponed_notification_is_due_at_its_time(stores):
    id_ = stored(stores)
    stores.notifications.postpone(id_, "not yet", timedelta(hours=1))
    assert not stores.notifications.has_due()
    stores.notifications.postpone(id_, "not yet", timedelta(seconds=-1))
    assert stores.notifications.has_due()


def test_a_processed_notification_is_neither_parked_nor_postponed(stores):
    id_ = stored(stores)
    stores.notifications.apply(id_, (), wait_for_match=False)
    stores.notifications.park(id_, "late")
    stores.notifications.postpone(id_, "late", timedelta(seconds=-1))
    assert not stores.notifications.has_due()
    assert rows(stores, "SELECT error FROM notifications") == [("",)]


# Statuses


def test_an_event_with_our_attempt_id_may_be_ahead_of_the_answer_of_ses(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    assert apply(stores, feedback(EventKind.SEND, claim.attempt_id, ses_message_id="ses-9"), wait_for_match=True) == 1
    assert status(stores, id_) == "SENT"
    stores.sending.accepted(claim, "ses-9")
    assert status(stores, id_) == "SENT"


def test_a_later_status_is_not_undone_by_the_answer_of_ses(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    apply(stores, feedback(EventKind.DELIVERY, claim.attempt_id, address="a@example.com"))
    stores.sending.accepted(claim, "ses-9")
    assert status(stores, id_) == "DELIVERED"


def test_an_event_is_the_evidence_that_an_ambiguous_recipient_waits_for(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.ambiguous(claim, "ReadTimeoutError")
    apply(stores, feedback(EventKind.SEND, claim.attempt_id))
    assert status(stores, id_) == "SENT"


def test_an_event_about_an_earlier_attempt_counts(stores):
    (id_,) = accept(stores)
    early = begun(stores, id_)
    change(stores, "UPDATE recipients SET status = 'QUEUED', claimed_until = NULL")
    begun(stores, id_)
    apply(stores, feedback(EventKind.SEND, early.attempt_id))
    assert status(stores, id_) == "SENT"


def test_a_report_without_our_attempt_id_is_matched_by_the_ses_message_id(stores):
    claim = sent(stores)
    apply(stores, bounce(ses_message_id="ses-1"), wait_for_match=True)
    assert status(stores, claim.recipient_id) == "BOUNCED"


def test_an_event_that_is_repeated_under_another_sns_id_counts_once(stores):
    claim = sent(stores)
    report = bounce(claim.attempt_id)
    assert apply(stores, report) == 1
    assert apply(stores, report) == 0
    assert rows(stores, "SELECT count(*) FROM events") == [(1,)]
    assert rows(stores, "SELECT count(*) FROM notifications WHERE processed_at IS NULL") == [(0,)]


def test_applying_a_notification_twice_does_nothing_the_second_time(stores):
    claim = sent(stores)
    id_ = stored(stores)
    assert len(stores.notifications.apply(id_, [bounce(claim.attempt_id)], wait_for_match=False)) == 1
    assert stores.notifications.apply(id_, [complaint(claim.attempt_id)], wait_for_match=False) == ()
    assert status(stores, claim.recipient_id) == "BOUNCED"


def test_a_complaint_outranks_a_bounce_in_either_order(stores):
    for first, second in ((bounce, complaint), (complaint, bounce)):
        claim = sent(stores, f"{first.__name__}@example.com")
        apply(stores, first(claim.attempt_id), second(claim.attempt_id))
        assert status(stores, claim.recipient_id) == "COMPLAINED"
    assert {reason for reason, _ in suppressed(stores).values()} == {"complaint"}


def test_one_event_about_three_recipients_is_three_rows(stores):
    claims = sent(stores, "a@example.com", "b@example.com", "c@example.com")
    reports = [bounce(claim.attempt_id, claim.address, feedback_id="one") for claim in claims]
    assert apply(stores, *reports) == 3
    assert {status(stores, claim.recipient_id) for claim in claims} == {"BOUNCED"}


def test_the_reason_of_a_status_is_what_was_reported(stores):
    claim = sent(stores)
    apply(stores, bounce(claim.attempt_id, diagnostic="smtp; 550 5.1.1 unknown user", status_code="5.1.1"))
    assert column(stores, claim.recipient_id, "reason") == "Bounce Permanent/General: smtp; 550 5.1.1 unknown user"
    assert column(stores, claim.recipient_id, "ended_at") is not None


def test_an_open_is_recorded_and_changes_nothing(stores):
    claim = sent(stores)
    assert apply(stores, feedback(EventKind.OPEN, claim.attempt_id)) == 1
    assert status(stores, claim.recipient_id) == "SENT"


# Matching


def test_a_report_about_an_unknown_mail_waits_and_leaves_nothing_behind(stores):
    claim = sent(stores)
    id_ = stored(stores)
    reports = [bounce(claim.attempt_id), bounce(ses_message_id="ses-unknown", address="who@example.com")]
    with pytest.raises(UnmatchedError, match="ses-unknown"):
        stores.notifications.apply(id_, reports, wait_for_match=True)
    assert status(stores, claim.recipient_id) == "SENT"
    assert suppressed(stores) == {}
    assert rows(stores, "SELECT count(*) FROM events") == [(0,)]
    assert stores.notifications.read(id_) is not None


def test_a_report_that_was_waited_for_in_vain_is_stored_and_suppresses_who_it_names(stores):
    assert apply(stores, bounce(ses_message_id="ses-unknown", address="who@example.com")) == 1
    assert rows(stores, "SELECT recipient_id, address_key FROM events") == [(None, "who@example.com")]
    assert suppressed(stores)["who@example.com"][0] == "bounce"


def test_an_attempt_id_that_is_not_ours_is_not_waited_for(stores):
    assert apply(stores, bounce("f" * 32, address="who@example.com"), wait_for_match=True) == 1
    assert suppressed(stores)["who@example.com"][0] == "bounce"


def test_the_recipient_of_the_attempt_is_blamed_and_not_where_the_mail_went_on_to(stores):
    claim = sent(stores, "alias@example.com")
    apply(stores, bounce(claim.attempt_id, address="mailbox@elsewhere.example"))
    assert set(suppressed(stores)) == {"alias@example.com"}
    assert rows(stores, "SELECT address FROM events") == [("mailbox@elsewhere.example",)]


def test_an_unmatched_report_of_the_whole_mail_suppresses_nobody(stores):
    assert apply(stores, bounce(address=None, ses_message_id="ses-unknown")) == 1
    assert suppressed(stores) == {}


def test_a_report_of_a_mail_that_is_not_known_yet_suppresses_at_once_and_is_matched_later(stores):
    claim = sent(stores, "alias@example.com")
    id_, report = stored(stores), bounce(ses_message_id="ses-late", address="mailbox@elsewhere.example")
    stores.notifications.await_match(id_, [report], "not known yet", timedelta(seconds=-1))
    assert set(suppressed(stores)) == {"mailbox@elsewhere.example"}
    assert rows(stores, "SELECT count(*) FROM events") == [(0,)]
    assert stores.notifications.has_due()
    change(stores, "UPDATE attempts SET ses_message_id = 'ses-late'")
    stores.notifications.apply(id_, [report], wait_for_match=True)
    assert set(suppressed(stores)) == {"mailbox@elsewhere.example", "alias@example.com"}
    assert status(stores, claim.recipient_id) == "BOUNCED"


def test_an_event_that_was_stored_without_its_mail_finds_it_by_a_second_report_with_our_id(stores):
    (id_,) = accept(stores, "alias@example.com")
    claim = begun(stores, id_)
    stores.sending.ambiguous(claim, "ReadTimeoutError")
    seen = {"address": "mailbox@elsewhere.example", "ses_message_id": "ses-x", "feedback_id": "one"}
    assert apply(stores, bounce(**seen)) == 1
    assert status(stores, id_) == "AMBIGUOUS"
    assert apply(stores, bounce(claim.attempt_id, **seen)) == 1
    assert status(stores, id_) == "BOUNCED"
    assert "alias@example.com" in suppressed(stores)
    assert apply(stores, bounce(claim.attempt_id, **seen)) == 0
    assert rows(stores, "SELECT recipient_id, attempt_id FROM events") == [(id_, claim.attempt_id)]


def test_what_was_applied_is_told_with_the_id_that_smtp_answered(stores):
    claim = sent(stores, "alias@example.com")
    reports = [
        bounce(claim.attempt_id, address="mailbox@elsewhere.example"),
        bounce("f" * 32, address="who@x.example", ses_message_id="ses-2"),
    ]
    applied = stores.notifications.apply(stored(stores), reports, wait_for_match=False)
    assert applied == (
        Applied(EventKind.BOUNCE, claim.ulid, "alias@example.com", claim.attempt_id, Status.BOUNCED, new=True),
        Applied(EventKind.BOUNCE, None, "who@x.example", "f" * 32, None, new=True),
    )
    (again,) = stores.notifications.apply(stored(stores), reports[:1], wait_for_match=False)
    assert again == replace(applied[0], new=False)


# Suppressions


def test_a_suppression_only_grows(stores):
    claim = sent(stores)
    expected = ["bounce", "unsubscribe", "complaint", "complaint", "complaint"]
    reports = (
        bounce(claim.attempt_id),
        bounce(claim.attempt_id, sub_type="UnsubscribedRecipient"),
        complaint(claim.attempt_id, complaint_type="abuse"),
        bounce(claim.attempt_id),
        bounce(claim.attempt_id, sub_type="UnsubscribedRecipient"),
    )
    grown = []
    for report in reports:
        apply(stores, report)
        grown.append(suppressed(stores)["a@example.com"][0])
    assert grown == expected


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
def test_a_complaint_that_is_none_suppresses_nobody_and_changes_no_status(stores, kind):
    claim = sent(stores)
    assert apply(stores, complaint(claim.attempt_id, complaint_type=kind)) == 1
    assert suppressed(stores) == {}
    assert status(stores, claim.recipient_id) == "SENT"


@pytest.mark.parametrize("bounce_type", [BounceType.TRANSIENT, BounceType.UNDETERMINED])
def test_a_bounce_that_may_pass_suppresses_nobody(stores, bounce_type):
    claim = sent(stores)
    apply(stores, bounce(claim.attempt_id, bounce_type=bounce_type))
    assert suppressed(stores) == {}
    assert status(stores, claim.recipient_id) == "SOFT_BOUNCED"


def test_the_suppression_says_since_when_and_what_said_so(stores):
    claim = sent(stores)
    apply(stores, bounce(claim.attempt_id, diagnostic="550 no such user"))
    (found,) = stores.suppressions.list()
    assert (found.address, found.reason, found.since) == ("a@example.com", Reason.BOUNCE, AT)
    assert found.source == "SES Bounce"
    assert "550 no such user" in found.detail
