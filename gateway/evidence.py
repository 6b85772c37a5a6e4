"""What becomes of a mail that SES may have or may not: wait for evidence, send it again, or leave it to a person. Pure.

SES takes no idempotency key, so a lost answer can only be settled by an event that carries the attempt id. That none
came means something only while events come at all, so the events of later sends are asked first. All times are UTC
microseconds, all lengths microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# From so many calls without an answer on, patience grows no more.
MOST_CALLS = 11


class Verdict(StrEnum):
    WAIT = "wait"
    RESEND = "resend"
    HOLD = "hold"


class Channel(StrEnum):
    """What the way of the events looks like from a mail in doubt."""

    ALIVE = "alive"  # mail that was sent later was reported on
    SILENT = "silent"  # mail was sent later, and long ago, and nothing came
    UNKNOWN = "unknown"  # nothing was sent later, or only just now
    NONE = "none"  # SESGATE_FEEDBACK=identity: there is no event for every mail


@dataclass(frozen=True, slots=True)
class Doubt:
    """A recipient in doubt: since when, after how many calls without an answer, and what came of later sends.

    `later_sent_at` is when SES took the first of them, `later_seen_at` when the first report on one of them was stored.
    """

    since: int
    calls: int
    later_sent_at: int | None = None
    later_seen_at: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """`wait` is the first doubt's patience, `resend` what becomes of it then, `has_channel` whether events are due."""

    wait: int
    resend: bool
    has_channel: bool

    def patience(self, calls: int) -> int:
        """Twice as long after each further call without an answer: every one of them may have made a copy."""
        return self.wait << min(max(calls, 1), MOST_CALLS) - 1


def channel(doubt: Doubt, policy: Policy, now: int) -> Channel:
    if not policy.has_channel:
        return Channel.NONE
    if doubt.later_seen_at is not None:
        return Channel.ALIVE
    if doubt.later_sent_at is not None and now - doubt.later_sent_at >= policy.wait:
        return Channel.SILENT
    return Channel.UNKNOWN


def verdict(doubt: Doubt, policy: Policy, now: int) -> Verdict:
    """Evidence has its time from the doubt on, and once more from the moment when events are known to come again.

    A report that was on its way while our webhook was away may be repeated by SNS after those of later sends.
    """
    patience = policy.patience(doubt.calls)
    starts = [doubt.since]
    if policy.has_channel:
        if doubt.later_seen_at is None:
            return Verdict.WAIT
        starts.append(doubt.later_seen_at)
    if now - max(starts) < patience:
        return Verdict.WAIT
    return Verdict.RESEND if policy.resend else Verdict.HOLD
