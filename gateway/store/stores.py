"""All stores over one database: what an entry point opens, passes on and closes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from gateway.evidence import Policy
from gateway.guard import captured
from gateway.logs import get_logger
from gateway.reputation import Limits
from gateway.settings import Settings
from gateway.silence import Policy as SilencePolicy
from gateway.store.ambiguity import Ambiguity
from gateway.store.control import Control
from gateway.store.credentials import Credentials
from gateway.store.db import Database
from gateway.store.group_sending import GroupSending
from gateway.store.messages import Messages
from gateway.store.notifications import Notifications
from gateway.store.opening import open_database
from gateway.store.reports import Reports
from gateway.store.reputation import Reputation
from gateway.store.retention import Kept, Retention
from gateway.store.schema import check_schema
from gateway.store.sending import Sending
from gateway.store.silence import Silence
from gateway.store.suppression_imports import SuppressionImports
from gateway.store.suppressions import Suppressions
from gateway.store.sweeping import Sweeping
from gateway.store.times import span
from gateway.suppression_policy import Policy as SuppressionPolicy

log = get_logger(__name__)

_TOLERABLE_SKEW = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Stores:
    """One of each."""

    db: Database
    messages: Messages
    sending: Sending
    group_sending: GroupSending
    sweeping: Sweeping
    ambiguity: Ambiguity
    silence: Silence
    reputation: Reputation
    notifications: Notifications
    suppressions: Suppressions
    imports: SuppressionImports
    credentials: Credentials
    control: Control
    reports: Reports
    retention: Retention

    def close(self) -> None:
        self.db.close()


def open_stores(settings: Settings) -> Stores:
    """Open the database that the settings name; StoreError when it cannot be opened or has another schema."""
    db = open_database(settings.database, settings.gate_timeout.total_seconds())
    try:
        check_schema(db)
        _warn_of_skew(db)
    except BaseException:
        db.close()
        raise
    ambiguity = Ambiguity(db, _ambiguity_policy(settings))
    limits = Limits(settings.hold_bounce_rate, settings.hold_complaint_rate, settings.hold_min_sends)
    reputation = Reputation(db, limits)
    silence = Silence(db, _silence_policy(settings))
    return Stores(
        db=db,
        messages=Messages(db, settings.max_age, partial(captured, settings=settings)),
        sending=Sending(db, dispatch_timeout=settings.dispatch_timeout, claim_lease=settings.claim_lease),
        group_sending=GroupSending(db, claim_lease=settings.claim_lease),
        sweeping=Sweeping(
            db,
            dispatch_timeout=settings.dispatch_timeout,
            claim_lease=settings.claim_lease,
            max_age=settings.max_age,
        ),
        ambiguity=ambiguity,
        silence=silence,
        reputation=reputation,
        notifications=Notifications(
            db, SuppressionPolicy.from_settings(settings), dispatch_timeout=settings.dispatch_timeout
        ),
        suppressions=Suppressions(db),
        imports=SuppressionImports(db),
        credentials=Credentials(db, settings.trusted_networks),
        control=Control(db),
        reports=Reports(db, ambiguity, reputation, silence),
        retention=Retention(db, Kept.from_settings(settings)),
    )


def _ambiguity_policy(settings: Settings) -> Policy:
    return Policy(
        wait=span(settings.ambiguous_wait),
        resend=settings.ambiguous == "resend",
        has_channel=settings.feedback == "configuration-set",
    )


def _silence_policy(settings: Settings) -> SilencePolicy:
    return SilencePolicy(patience=span(settings.feedback_silence), promised=settings.feedback == "configuration-set")


def _warn_of_skew(db: Database) -> None:
    """Marks and claims are compared by the clocks of different machines, and last a few seconds only."""
    skew = db.clock_skew()
    if abs(skew) > _TOLERABLE_SKEW:
        log.warning("store.clock_skew", seconds=round(skew, 1), fix="set this machine's clock by NTP")
