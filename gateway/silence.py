"""Whether SES has stopped reporting: mail was taken, and nothing came back for too long. Pure.

A gateway whose reports do not arrive goes on mailing dead addresses and people who complained, and nothing else shows
it. What sends nothing is not silent. All times are UTC microseconds, all lengths microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# What a person looks at, where reports have stayed away since the beginning and where they came before.
FIX_NEVER = (
    "does the configuration set have an event destination with all event types, is its topic subscribed to the webhook"
    " and the subscription confirmed, and does SESGATE_SNS_TOPIC_ARNS name the topic?"
)
FIX_SILENT = (
    "look at the event destination of the configuration set, the SNS subscription and its delivery failures, and the"
    " log of the webhook"
)


class Finding(StrEnum):
    """What is to be said of the reports on mail that SES took."""

    HEARD = "heard"  # they come, or nothing is overdue
    SILENT = "silent"  # they came once, and come no more
    NEVER = "never"  # none has ever come
    UNPROMISED = "unpromised"  # SESGATE_FEEDBACK=identity, and no Delivery was ever reported: none need come


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the reports on some mail.

    `unreported_since` is when the first mail was handed over that SES took since the last report, and that none was on.
    `last_report_at` is when the last one was stored. `deliveries`: whether Delivery events are among them.
    """

    unreported_since: int | None = None
    last_report_at: int | None = None
    deliveries: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """`patience` is how long reports may stay away; `promised`: SES reports every mail that it takes (Send events)."""

    patience: int
    promised: bool = True


def find(evidence: Evidence, policy: Policy, now: int) -> Finding:
    if not policy.promised and not evidence.deliveries:
        return Finding.UNPROMISED
    since = evidence.unreported_since
    if since is None or now - since < policy.patience:
        return Finding.HEARD
    return Finding.NEVER if evidence.last_report_at is None else Finding.SILENT
