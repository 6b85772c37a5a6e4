"""A whole set of gauges for tests: with each metric that there is, at least once."""

from __future__ import annotations

from gateway.metrics import (
    AccountLimits,
    Counts,
    Dispatching,
    Gauges,
    Inbox,
    Rate,
    Stops,
    Waiting,
    Window,
)

GAUGES = Gauges(
    waiting=Waiting({"QUEUED": 2, "HELD": 0}, oldest_age=60.0, oldest_due_age=1.5, oldest_ambiguous_age=30.0),
    counts=Counts(outcomes={"SENT": 5, "FAILED": 1}, attempts={"accepted": 5}, ses_errors={"message": 1}),
    rate=Rate(13.3, 0.95),
    account=AccountLimits(14.0, 50_000.0, 7.0),
    stops=Stops(circuit="quota", paused=False, held_credentials={"shop": True, "local": False}, captured="outside"),
    windows=(Window("shop", "day", 1000, 50, 1), Window(None, "last_thousand", 1000, 60, 2)),
    inbox=Inbox(
        evidence_silent=True,
        feedback_silent=False,
        last_event_age=2.5,
        unprocessed=3,
        not_understood=1,
        suppressions={"bounce": 4},
    ),
    dispatching=Dispatching('host "a"\n1', epoch=2, beat=99, beat_age=0.5),
    database_bytes=8192,
)
