"""How often a credential's mail bounces or is complained of, and when that is too often. Pure.

AWS reviews an account at 5 % bounces or 0.1 % complaints, and may pause it at 10 % or 0.5 %, over a "representative
volume" that it does not tell (https://docs.aws.amazon.com/ses/latest/dg/reputationdashboardmessages.html). One
careless application is stopped here before the account is.
"""

from __future__ import annotations

from dataclasses import dataclass

REVIEW_BOUNCE_RATE = 0.05
REVIEW_COMPLAINT_RATE = 0.001
# Fewer events than this are chance, however few the sends were.
MIN_EVENTS = 5
LAST_SENDS = 1000

_SIMULATOR = "@simulator.amazonses.com"


@dataclass(frozen=True, slots=True)
class Rates:
    """Mail that SES took in a window, and how much of it bounced for good or was complained of. In recipients."""

    sends: int = 0
    bounces: int = 0
    complaints: int = 0

    @property
    def bounce_rate(self) -> float | None:
        """A part of one; None when nothing was sent."""
        return self.bounces / self.sends if self.sends else None

    @property
    def complaint_rate(self) -> float | None:
        return self.complaints / self.sends if self.sends else None


@dataclass(frozen=True, slots=True)
class Limits:
    """The rates over which a credential is held, and the sends below which it is not judged."""

    bounce_rate: float
    complaint_rate: float
    min_sends: int


def verdict(rates: Rates, limits: Limits, window: str) -> str | None:
    """Why a credential is to be held, in words that name the window; None when it may go on."""
    if rates.sends < limits.min_sends:
        return None
    for name, events, limit in (
        ("bounced", rates.bounces, limits.bounce_rate),
        ("were complained of", rates.complaints, limits.complaint_rate),
    ):
        if events >= MIN_EVENTS and events / rates.sends > limit:
            share = f"{events / rates.sends:.2%} (the limit is {limit:.2%})"
            return f"{events} of {rates.sends} mails of {window} {name}: {share}"
    return None


def is_counted(address_key: str) -> bool:
    """Whether mail to that address says anything about a sender: the mailbox simulator's never does."""
    return not address_key.endswith(_SIMULATOR)
