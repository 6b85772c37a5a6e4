"""What the mailbox simulator of SES is expected to cause, and which link of the loop is missing when it does not. Pure.

https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.feedback import EventKind
from gateway.lifecycle import AFTER_SES, Status
from gateway.suppression_policy import Reason

SIMULATOR = "simulator.amazonses.com"


class Link(StrEnum):
    """A step of the loop, in the order in which a mail takes them."""

    DOOR = "door"
    SENDING = "sending"
    REPORT = "report"
    STATUS = "status"
    SUPPRESSION = "suppression"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Trial:
    """An address of the simulator: the report that settles its mail, the status then, and whether it is suppressed."""

    local_part: str
    report: EventKind
    status: Status
    suppressed_for: Reason | None = None

    def address(self, label: str) -> str:
        """The simulator takes any label, so each proof has addresses that nothing was ever sent to."""
        return f"{self.local_part}+{label}@{SIMULATOR}"


TRIALS = (
    Trial("success", EventKind.DELIVERY, Status.DELIVERED),
    Trial("bounce", EventKind.BOUNCE, Status.BOUNCED, Reason.BOUNCE),
    Trial("complaint", EventKind.COMPLAINT, Status.COMPLAINED, Reason.COMPLAINT),
    # An auto-reply follows its delivery, which SES may call a soft bounce: it neither changes the status nor counts.
    Trial("ooto", EventKind.DELIVERY, Status.DELIVERED),
    Trial("suppressionlist", EventKind.BOUNCE, Status.BOUNCED, Reason.GLOBAL_LIST),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a trial's mail so far.

    The times are seconds from the beginning of its SMTP session, None for what has not happened. `reply` is what the
    gateway said when it did not take the mail, `second_reply` what it said to a recipient that it was to refuse.
    """

    accepted: float | None = None
    reply: str = ""
    taken: float | None = None
    status: Status | None = None
    reason: str = ""
    reports: frozenset[EventKind] = frozenset()
    reported: float | None = None
    suppression: Reason | None = None
    refused: bool | None = None
    second_reply: str = ""


def missing(trial: Trial, seen: Seen, *, refuses: bool) -> Link | None:
    """The first link that did not hold; None when the whole loop did.

    `refuses`: the gateway is set to refuse suppressed recipients, and not to take their mail and drop it.
    """
    if seen.accepted is None:
        return Link.DOOR
    if seen.taken is None and seen.status not in AFTER_SES:
        return Link.SENDING
    if trial.report not in seen.reports:
        return Link.REPORT
    if seen.status is not trial.status:
        return Link.STATUS
    if seen.suppression is not trial.suppressed_for:
        return Link.SUPPRESSION
    if trial.suppressed_for is not None and refuses and not seen.refused:
        return Link.REFUSAL
    return None


def is_settled(trial: Trial, seen: Seen) -> bool:
    """Whether there is nothing more to wait for before the recipient is tried again at the door."""
    return missing(trial, seen, refuses=False) is None
