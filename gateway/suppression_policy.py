"""Which feedback stops further mail to an address, why, and for how long. All of it is here.

https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.settings import Settings


class Reason(StrEnum):
    """Why an address is suppressed, in rising rank: of two reasons the higher one stays.

    The first three are findings about a mailbox, from the weakest to SES's word that it is dead, and are over once the
    mailbox works. The others are the will of a person, the recipient's above the operator's.
    """

    SOFT_BOUNCE = "soft-bounce"
    GLOBAL_LIST = "global-list"
    BOUNCE = "bounce"
    MANUAL = "manual"
    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {reason: rank for rank, reason in enumerate(Reason)}

# What the next delivery refutes.
PASSING = (Reason.SOFT_BOUNCE, Reason.GLOBAL_LIST)


def stronger(current: Reason | None, new: Reason) -> Reason:
    """The reason that stays when an address suppressed for `current` (None: not suppressed) is suppressed for `new`.

    A later bounce never weakens what a person asked for, so lifting all bounces of a domain that was down for a day
    does not bring back anybody who complained.
    """
    return new if current is None or new.rank > current.rank else current


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a report does to its address.

    `reason` suppresses it at once. A `strike` counts against it, and enough of them suppress it. An `echo` tells that
    SES did not even try, since the address is on the account's own list: AWS does not count it, and neither do we.
    """

    reason: Reason | None = None
    strike: bool = False
    echo: bool = False


_NOTHING = Ruling()
_STRIKE = Ruling(strike=True)

# The subtypes that are ruled otherwise than their type. What SES will call tomorrow's goes by its type.
_BY_SUB_TYPE: Mapping[tuple[BounceType, str], Ruling] = {
    (BounceType.PERMANENT, "Suppressed"): Ruling(Reason.GLOBAL_LIST),
    (BounceType.PERMANENT, "EmailValidationSuppressed"): Ruling(Reason.GLOBAL_LIST),
    (BounceType.PERMANENT, "OnAccountSuppressionList"): Ruling(Reason.BOUNCE, echo=True),
    (BounceType.PERMANENT, "OnTenantSuppressionList"): Ruling(Reason.BOUNCE, echo=True),
    (BounceType.PERMANENT, "UnsubscribedRecipient"): Ruling(Reason.UNSUBSCRIBE),
    # About the message or its sender: a smaller or a later one may be welcome.
    **{
        (bounce_type, sub_type): _NOTHING
        for bounce_type in BounceType
        for sub_type in ("MessageTooLarge", "ContentRejected", "AttachmentRejected", "CustomTimeoutExceeded")
    },
}
_BY_TYPE: Mapping[BounceType, Ruling] = {
    BounceType.PERMANENT: Ruling(Reason.BOUNCE),
    BounceType.TRANSIENT: _STRIKE,
    BounceType.UNDETERMINED: _STRIKE,
}
_ECHOED_COMPLAINTS = frozenset({"OnAccountSuppressionList", "OnTenantSuppressionList"})
# `not-spam` is the opposite of a complaint; `auth-failure` is a machine's report on DKIM or SPF, not the reader's word.
_NO_COMPLAINTS = frozenset({"not-spam", "auth-failure"})


def rule(feedback: Feedback) -> Ruling:
    """What this report does to the address it blames."""
    return rule_of(feedback.kind, feedback.bounce_type, feedback.sub_type, feedback.complaint_type)


def rule_of(kind: str, bounce_type: str | None, sub_type: str | None, complaint_type: str | None) -> Ruling:
    """The same for an event as it is stored."""
    if kind == EventKind.BOUNCE and bounce_type is not None:
        known = BounceType(bounce_type)
        return _BY_SUB_TYPE.get((known, sub_type or ""), _BY_TYPE[known])
    if kind != EventKind.COMPLAINT or (complaint_type or "").casefold() in _NO_COMPLAINTS:
        return _NOTHING
    return Ruling(Reason.COMPLAINT, echo=sub_type in _ECHOED_COMPLAINTS)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator chose: how many soft bounces within `window` suppress, and how long each reason lasts.

    A reason that is not in `lasting`, or is None there, lasts until somebody lifts it.
    """

    soft_bounces: int
    window: timedelta
    lasting: Mapping[Reason, timedelta | None]

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            soft_bounces=settings.soft_bounces,
            window=settings.soft_bounce_window,
            lasting={
                Reason.SOFT_BOUNCE: settings.suppress_soft_bounce,
                Reason.GLOBAL_LIST: settings.suppress_global_list,
                Reason.BOUNCE: settings.suppress_bounce,
                Reason.COMPLAINT: settings.suppress_complaint,
            },
        )

    def expires(self, reason: Reason, since: datetime) -> datetime | None:
        """When a suppression ends whose last evidence is of `since`; None: never by itself."""
        lasting = self.lasting.get(reason)
        return None if lasting is None else since + lasting


@dataclass(frozen=True, slots=True)
class Sighting:
    """A stored bounce that counts against an address: `mail` is SES's id of the mail that bounced."""

    event_id: int
    mail: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """That an address is to be suppressed: since which bounce, and until when (None: never by itself)."""

    reason: Reason
    began: Sighting
    expires_at: datetime | None


def find_struck(soft_bounces: Sequence[Sighting], policy: Policy) -> Finding | None:
    """Whether soft bounces suppress their address: enough mails of it bounced within one window.

    Computed from all of them each time, never counted up, so that neither order nor repetition matters. The caller
    leaves out those that a delivery refutes and those that a person has forgiven.
    """
    return _last_stretch(list(_reaching(sorted(soft_bounces, key=_order), policy)), Reason.SOFT_BOUNCE, policy)


def find_listed(sightings: Sequence[Sighting], policy: Policy) -> Finding | None:
    """Whether SES's word that an address is on its global list suppresses it."""
    return _last_stretch(sorted(sightings, key=_order), Reason.GLOBAL_LIST, policy)


def _order(sighting: Sighting) -> tuple[datetime, int]:
    return sighting.occurred_at, sighting.event_id


def _reaching(ordered: Sequence[Sighting], policy: Policy) -> Iterator[Sighting]:
    """Those with which enough mails have bounced within the window before them.

    Mails, not bounces: one that bounces twice is one strike. In one pass, for the SMTP front may be waiting for the end
    of the transaction.
    """
    mails: Counter[str] = Counter()
    oldest = 0
    for one in ordered:
        mails[one.mail] += 1
        while ordered[oldest].occurred_at <= one.occurred_at - policy.window:
            gone = ordered[oldest].mail
            oldest += 1
            mails[gone] -= 1
            if not mails[gone]:
                del mails[gone]
        if len(mails) >= policy.soft_bounces:
            yield one


def _last_stretch(evidence: Sequence[Sighting], reason: Reason, policy: Policy) -> Finding | None:
    """The suppression that evidence in the order of time makes: each piece prolongs it, and a long gap ends it."""
    if not evidence:
        return None
    began, expires_at = evidence[0], policy.expires(reason, evidence[0].occurred_at)
    for one in evidence:
        if expires_at is not None and expires_at <= one.occurred_at:
            began = one
        expires_at = policy.expires(reason, one.occurred_at)
    return Finding(reason, began, expires_at)
