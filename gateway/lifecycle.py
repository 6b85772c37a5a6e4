"""The life of a recipient: every status, everything that can happen to it, and what it becomes. All of it is here.

Before SES has the mail, a status is a step of ours. From the moment SES has it, the status is the highest rank in the
set of events seen, so neither their order nor their repetition matters. The table is total: what is not listed leaves
the status as it is.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.suppression_policy import rule


class Status(StrEnum):
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    AMBIGUOUS = "AMBIGUOUS"
    HELD = "HELD"
    SUPPRESSED = "SUPPRESSED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    SENT = "SENT"
    DELAYED = "DELAYED"
    SOFT_BOUNCED = "SOFT_BOUNCED"
    DELIVERED = "DELIVERED"
    REJECTED = "REJECTED"
    BOUNCED = "BOUNCED"
    COMPLAINED = "COMPLAINED"


class Happening(StrEnum):
    """What can happen to a recipient. The first group is ours, the second is what SES tells."""

    CLAIM = "a worker takes it for sending"
    RELEASE = "SES surely did not accept it"
    LOSE_SIGHT = "the outcome of the call is unknown"
    SUPPRESS = "the address is suppressed"
    REFUSE = "SES refuses it for good"
    EXPIRE = "it is too old"
    HOLD = "it is set aside"
    RESEND = "no evidence came, and it is sent again"
    RETRY = "an operator sends it again"
    CANCEL = "an operator cancels it"
    CAPTURE = "the staging guard keeps it"

    SEND = "SES accepts it"
    DELAY = "Delay event"
    TRANSIENT_BOUNCE = "Transient bounce event"
    DELIVERY = "Delivery event"
    REJECT = "Reject event"
    PERMANENT_BOUNCE = "Permanent bounce event"
    COMPLAINT = "Complaint event"


BEFORE_SES = (Status.QUEUED, Status.SENDING, Status.AMBIGUOUS, Status.HELD)
ENDED_BEFORE_SES = (Status.SUPPRESSED, Status.FAILED, Status.EXPIRED, Status.CANCELLED)

# In rising rank. Two of one rank: the first seen stays.
_RANKS: tuple[tuple[tuple[Happening, Status], ...], ...] = (
    ((Happening.SEND, Status.SENT),),
    ((Happening.DELAY, Status.DELAYED),),
    ((Happening.TRANSIENT_BOUNCE, Status.SOFT_BOUNCED),),
    ((Happening.DELIVERY, Status.DELIVERED),),
    ((Happening.REJECT, Status.REJECTED), (Happening.PERMANENT_BOUNCE, Status.BOUNCED)),
    ((Happening.COMPLAINT, Status.COMPLAINED),),
)
_RANK = {status: rank for rank, pairs in enumerate(_RANKS) for _, status in pairs}
AFTER_SES = tuple(_RANK)

# Ends that nothing but a later event revises. SENT, DELAYED and SOFT_BOUNCED become final only with age.
FINAL = (*ENDED_BEFORE_SES, Status.DELIVERED, Status.REJECTED, Status.BOUNCED, Status.COMPLAINED)
FINAL_WITH_AGE = (Status.SENT, Status.DELAYED, Status.SOFT_BOUNCED)

_STEPS: dict[tuple[Status, Happening], Status] = {
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
    # An answer of SES that comes after the claim has lapsed still counts.
    (Status.AMBIGUOUS, Happening.RELEASE): Status.QUEUED,
    (Status.AMBIGUOUS, Happening.REFUSE): Status.FAILED,
    (Status.AMBIGUOUS, Happening.HOLD): Status.HELD,
    (Status.AMBIGUOUS, Happening.RESEND): Status.QUEUED,
    (Status.AMBIGUOUS, Happening.EXPIRE): Status.EXPIRED,
    (Status.AMBIGUOUS, Happening.CANCEL): Status.CANCELLED,
    (Status.HELD, Happening.EXPIRE): Status.EXPIRED,
    (Status.HELD, Happening.CANCEL): Status.CANCELLED,
    # A person may send again what SES does not have, as far as we know.
    **{(status, Happening.RETRY): Status.QUEUED for status in (Status.AMBIGUOUS, Status.HELD, *ENDED_BEFORE_SES)},
}


def _evidence() -> dict[tuple[Status, Happening], Status]:
    """An event proves that SES has the mail, whatever we believed."""
    table = {}
    for rank, pairs in enumerate(_RANKS):
        for happening, status in pairs:
            for current in (*BEFORE_SES, *ENDED_BEFORE_SES):
                table[current, happening] = status
            for current in AFTER_SES:
                table[current, happening] = status if rank > _RANK[current] else current
    return table


TRANSITIONS: dict[tuple[Status, Happening], Status] = {
    (status, happening): status for status in Status for happening in Happening
} | {**_STEPS, **_evidence()}


def after(status: Status, happening: Happening) -> Status:
    return TRANSITIONS[status, happening]


def happening_of(feedback: Feedback) -> Happening:
    """What a report of SES means for its recipient.

    An open, a click or a complaint that is none (`not-spam`) is no step in the life of a mail, but SES reports them
    only of mail that it has taken. What could not be rendered is as surely not sent as what was rejected.
    """
    if feedback.kind is EventKind.COMPLAINT and rule(feedback).reason is None:
        return Happening.SEND
    if feedback.kind is EventKind.BOUNCE:
        permanent = feedback.bounce_type is BounceType.PERMANENT
        return Happening.PERMANENT_BOUNCE if permanent else Happening.TRANSIENT_BOUNCE
    return _HAPPENINGS[feedback.kind]


_HAPPENINGS = {
    EventKind.SEND: Happening.SEND,
    EventKind.DELIVERY: Happening.DELIVERY,
    EventKind.COMPLAINT: Happening.COMPLAINT,
    EventKind.REJECT: Happening.REJECT,
    EventKind.RENDERING_FAILURE: Happening.REJECT,
    EventKind.DELIVERY_DELAY: Happening.DELAY,
    EventKind.OPEN: Happening.SEND,
    EventKind.CLICK: Happening.SEND,
    EventKind.SUBSCRIPTION: Happening.SEND,
}
