from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations, product

import pytest

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.lifecycle import (
    AFTER_SES,
    BEFORE_SES,
    ENDED_BEFORE_SES,
    FINAL,
    FINAL_WITH_AGE,
    TRANSITIONS,
    Happening,
    Status,
    after,
    happening_of,
)

EVENTS = (
    Happening.SEND,
    Happening.DELAY,
    Happening.TRANSIENT_BOUNCE,
    Happening.DELIVERY,
    Happening.REJECT,
    Happening.PERMANENT_BOUNCE,
    Happening.COMPLAINT,
)
OURS = tuple(happening for happening in Happening if happening not in EVENTS)

# DESIGN section 2: in falling rank.
STATUS_OF = {
    Happening.COMPLAINT: Status.COMPLAINED,
    Happening.PERMANENT_BOUNCE: Status.BOUNCED,
    Happening.REJECT: Status.REJECTED,
    Happening.DELIVERY: Status.DELIVERED,
    Happening.TRANSIENT_BOUNCE: Status.SOFT_BOUNCED,
    Happening.DELAY: Status.DELAYED,
    Happening.SEND: Status.SENT,
}

# Every step of ours that changes something; everything else of ours leaves the status as it is.
STEPS = {
    (Status.QUEUED, Happening.CLAIM): Status.SENDING,
    (Status.QUEUED, Happening.EXPIRE): Status.EXPIRED,
    (Status.QUEUED, Happening.CANCEL): Status.CANCELLED,
    (Status.QUEUED, Happening.CAPTURE): Status.CANCELLED,
    (Status.SENDING, Happening.RELEASE): Status.QUEUED,
    (Status.SENDING, Happening.LOSE_SIGHT): Status.AMBIGUOUS,
    (Status.SENDING, Happening.SUPPRESS): Status.SUPPRESSED,
    (Status.SENDING, Happening.REFUSE): Status.FAILED,
    (Status.SENDING, Happening.HOLD): Status.HELD,
    (Status.SENDING, Happening.CAPTURE): Status.CANCELLED,
    (Status.AMBIGUOUS, Happening.RELEASE): Status.QUEUED,
    (Status.AMBIGUOUS, Happening.REFUSE): Status.FAILED,
    (Status.AMBIGUOUS, Happening.HOLD): Status.HELD,
    (Status.AMBIGUOUS, Happening.EXPIRE): Status.EXPIRED,
    (Status.AMBIGUOUS, Happening.RESEND): Status.QUEUED,
    (Status.AMBIGUOUS, Happening.RETRY): Status.QUEUED,
    (Status.AMBIGUOUS, Happening.CANCEL): Status.CANCELLED,
    (Status.HELD, Happening.EXPIRE): Status.EXPIRED,
    (Status.HELD, Happening.RETRY): Status.QUEUED,
    (Status.HELD, Happening.CANCEL): Status.CANCELLED,
    (Status.SUPPRESSED, Happening.RETRY): Status.QUEUED,
    (Status.FAILED, Happening.RETRY): Status.QUEUED,
    (Status.EXPIRED, Happening.RETRY): Status.QUEUED,
    (Status.CANCELLED, Happening.RETRY): Status.QUEUED,
}


def test_the_table_is_total():
    assert set(TRANSITIONS) == set(product(Status, Happening))
    assert {*BEFORE_SES, *ENDED_BEFORE_SES, *AFTER_SES} == set(Status)
    assert len(BEFORE_SES) + len(ENDED_BEFORE_SES) + len(AFTER_SES) == len(Status)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("happening", OURS)
def test_steps_of_ours(status, happening):
    assert after(status, happening) is STEPS.get((status, happening), status)


@pytest.mark.parametrize("status", [*BEFORE_SES, *ENDED_BEFORE_SES])
@pytest.mark.parametrize("event", EVENTS)
def test_an_event_proves_that_ses_has_the_mail_whatever_we_believed(status, event):
    assert after(status, event) is STATUS_OF[event]


@pytest.mark.parametrize("size", range(1, len(EVENTS) + 1))
def test_the_status_is_the_highest_of_the_events_in_any_order(size):
    rank = {event: place for place, event in enumerate(STATUS_OF)}
    equal = {Happening.REJECT, Happening.PERMANENT_BOUNCE}
    for order in permutations(EVENTS, size):
        status = Status.SENDING
        for event in order:
            status = after(status, event)
        highest = min(order, key=rank.__getitem__)
        if equal <= set(order) and highest in equal:
            highest = next(event for event in order if event in equal)  # the first seen stays
        assert status is STATUS_OF[highest], order


def test_a_repeated_event_changes_nothing():
    for first, second in product(EVENTS, EVENTS):
        once = after(after(Status.SENDING, first), second)
        assert after(after(once, first), second) is once


def test_nothing_of_ours_moves_what_ses_has():
    for status, happening in product(AFTER_SES, OURS):
        assert after(status, happening) is status


def test_every_status_before_ses_can_end_by_age():
    for status in BEFORE_SES:
        reached = {status}
        while True:
            more = {after(one, step) for one in reached for step in (Happening.LOSE_SIGHT, Happening.EXPIRE)}
            if more <= reached:
                break
            reached |= more
        assert Status.EXPIRED in reached


def test_what_is_final():
    assert set(FINAL) == {
        Status.SUPPRESSED,
        Status.FAILED,
        Status.EXPIRED,
        Status.CANCELLED,
        Status.DELIVERED,
        Status.REJECTED,
        Status.BOUNCED,
        Status.COMPLAINED,
    }
    assert set(FINAL_WITH_AGE) == {Status.SENT, Status.DELAYED, Status.SOFT_BOUNCED}
    assert {*FINAL, *FINAL_WITH_AGE, *BEFORE_SES} == set(Status)


def report(kind, **fields):
    return Feedback(kind=kind, ses_message_id="ses-1", occurred_at=datetime(2026, 11, 21, tzinfo=UTC), **fields)


@pytest.mark.parametrize(
    ("feedback", "happening"),
    [
        (report(EventKind.SEND), Happening.SEND),
        (report(EventKind.DELIVERY), Happening.DELIVERY),
        (report(EventKind.DELIVERY_DELAY), Happening.DELAY),
        (report(EventKind.REJECT), Happening.REJECT),
        (report(EventKind.BOUNCE, bounce_type=BounceType.PERMANENT), Happening.PERMANENT_BOUNCE),
        (report(EventKind.BOUNCE, bounce_type=BounceType.TRANSIENT), Happening.TRANSIENT_BOUNCE),
        (report(EventKind.BOUNCE, bounce_type=BounceType.UNDETERMINED), Happening.TRANSIENT_BOUNCE),
        (report(EventKind.BOUNCE), Happening.TRANSIENT_BOUNCE),
        (report(EventKind.COMPLAINT), Happening.COMPLAINT),
        (report(EventKind.COMPLAINT, complaint_type="abuse"), Happening.COMPLAINT),
        (report(EventKind.COMPLAINT, complaint_type="not-spam"), Happening.SEND),
        (report(EventKind.COMPLAINT, complaint_type="auth-failure"), Happening.SEND),
        (report(EventKind.OPEN), Happening.SEND),
        (report(EventKind.CLICK), Happening.SEND),
        (report(EventKind.RENDERING_FAILURE), Happening.REJECT),
        (report(EventKind.SUBSCRIPTION), Happening.SEND),
    ],
)
def test_what_a_report_means(feedback, happening):
    assert happening_of(feedback) is happening


def test_every_kind_of_report_has_a_meaning_or_none():
    for kind in EventKind:
        assert happening_of(report(kind)) in {*EVENTS, None}
