"""Which feedback stops further mail to an address, and why."""

from __future__ import annotations

from enum import StrEnum

from gateway.feedback import BounceType, EventKind, Feedback


class Reason(StrEnum):
    """Why an address is suppressed."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"
    UNSUBSCRIBE = "unsubscribe"


_OPT_OUT = "UnsubscribedRecipient"
# `not-spam` is the opposite of a complaint; `auth-failure` is a machine's report on DKIM or SPF, not the reader's word.
_NO_COMPLAINTS = frozenset({"not-spam", "auth-failure"})

# A bounce is a finding about a mailbox and may be lifted once the mailbox works; the others are the will of a person,
# the recipient's above the operator's.
_RANK = {Reason.BOUNCE: 0, Reason.MANUAL: 1, Reason.UNSUBSCRIBE: 2, Reason.COMPLAINT: 3}


def decide(feedback: Feedback) -> Reason | None:
    """The reason this feedback gives to suppress its address, or None.

    Bounces are decided by their type, so that a subtype which SES adds tomorrow is not ignored. Events by which SES
    says that the address was on its own list already (`OnAccountSuppressionList`, `Suppressed` and the like) suppress
    too: the mail was not attempted, the next would not be either, and our list then says so at RCPT.
    """
    if feedback.kind is EventKind.COMPLAINT:
        return None if (feedback.complaint_type or "").casefold() in _NO_COMPLAINTS else Reason.COMPLAINT
    if feedback.kind is not EventKind.BOUNCE or feedback.bounce_type is not BounceType.PERMANENT:
        return None
    return Reason.UNSUBSCRIBE if feedback.sub_type == _OPT_OUT else Reason.BOUNCE


def stronger(current: Reason | None, new: Reason) -> Reason:
    """The reason that stays when an address suppressed for `current` (None: not suppressed) is suppressed for `new`.

    complaint > unsubscribe > manual > bounce: a later bounce never weakens what a person asked for, so lifting all
    bounces of a domain that was down for a day does not bring back anybody who complained.
    """
    return new if current is None or _RANK[new] > _RANK[current] else current
