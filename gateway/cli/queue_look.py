"""All that `sesgate queue status` tells at one moment, and what of it needs a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.cli.output import counted, plain, spoken_length
from gateway.lifecycle import Status
from gateway.reputation import REVIEW_BOUNCE_RATE, REVIEW_COMPLAINT_RATE, Limits, Rates
from gateway.silence import FIX_NEVER, FIX_SILENT
from gateway.store.ambiguity import AmbiguityOutlook
from gateway.store.queue import Queue, QueueStatus
from gateway.store.reputation import Standing
from gateway.store.silence import Hearing, Quiet
from gateway.store.stores import Stores

_DUE_TOO_LONG = timedelta(minutes=10)
_NO_BEAT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Look:
    """`standings` has one of each credential, and the last of all together."""

    queue: QueueStatus
    ambiguous: AmbiguityOutlook
    reports: Hearing
    standings: tuple[Standing, ...]
    limits: Limits

    @property
    def credentials(self) -> tuple[Standing, ...]:
        return self.standings[:-1]

    @property
    def together(self) -> Standing:
        return self.standings[-1]


def look_at(stores: Stores) -> Look:
    return Look(
        queue=Queue(stores.db).status(),
        ambiguous=stores.ambiguity.outlook(),
        reports=stores.silence.listen(),
        standings=tuple(stores.reputation.standings()),
        limits=stores.reputation.limits,
    )


def concerns(look: Look, now: datetime) -> list[str]:
    """What does not go away by itself, each in a few words; nothing when nobody need act."""
    return [
        *_stops(look),
        *(f"{one.credential} is held ({one.held_reason})" for one in look.credentials if one.held_at is not None),
        *(spoken_quiet(one, now) for one in look.reports.quiet),
        *_waits_for_a_person(look),
        *_stands_still(look.queue, now),
    ]


def _stops(look: Look) -> list[str]:
    found = []
    if look.queue.pause is not None:
        found.append(f"sending is paused ({look.queue.pause.reason})")
    if look.queue.circuit is not None:
        found.append(f"{look.queue.circuit.what} ({look.queue.circuit.reason})")
    if look.queue.guard is not None:
        found.append(f"the staging guard is on ({look.queue.guard.reason.rstrip('.')})")
    return found


def _waits_for_a_person(look: Look) -> list[str]:
    found = []
    held = look.queue.recipients.get(Status.HELD, 0)
    if held:
        found.append(f"{counted(held)} held")
    if look.ambiguous.is_silent:
        found.append(f"{counted(look.ambiguous.waiting)} in doubt, and SES reports nothing")
    return found


def spoken_quiet(quiet: Quiet, now: datetime) -> str:
    """That reports stay away, and what to look at."""
    which = {None: "", "": " with the installation's configuration set"}.get(
        quiet.configuration_set, f" with the configuration set {quiet.configuration_set}"
    )
    took = f"SES took mail{which} {spoken_length(now - quiet.since)} ago"
    if quiet.has_ever:
        return f"{took} and has reported nothing since ({FIX_SILENT})"
    return f"{took}, and no report has ever come ({FIX_NEVER})"


def _stands_still(queue: QueueStatus, now: datetime) -> list[str]:
    found = []
    if queue.oldest_due_at is not None and now - queue.oldest_due_at > _DUE_TOO_LONG:
        found.append(f"the first of {counted(queue.due)} has been due for {spoken_length(now - queue.oldest_due_at)}")
    beat = queue.dispatcher.last_beat_at
    if beat is None:
        found.append("no dispatcher has ever worked")
    elif now - beat > _NO_BEAT:
        found.append(f"no dispatcher has worked for {spoken_length(now - beat)}")
    return found


def as_json(look: Look, now: datetime) -> dict[str, Any]:
    """One flat object: the queue's own names first."""
    return {
        **plain(look.queue),
        "ambiguous": plain(look.ambiguous),
        "reports": {**plain(look.reports), "silent": look.reports.is_silent},
        "credentials": [_standing(one) for one in look.credentials],
        "together": _standing(look.together),
        "hold_limits": plain(look.limits),
        "review_limits": {"bounce_rate": REVIEW_BOUNCE_RATE, "complaint_rate": REVIEW_COMPLAINT_RATE},
        "concerns": concerns(look, now),
    }


def _standing(standing: Standing) -> dict[str, Any]:
    return {**plain(standing), "day": _rates(standing.day), "last": _rates(standing.last)}


def _rates(rates: Rates) -> dict[str, Any]:
    return {**plain(rates), "bounce_rate": rates.bounce_rate, "complaint_rate": rates.complaint_rate}
