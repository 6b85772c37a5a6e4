"""Row 20: random input, and whole sessions against a model. `make fuzz` is the same for as long as one likes."""

from __future__ import annotations

import logging
import time

import structlog

from tests.chaos.scenario import Run, Tier, scenario
from tests.fuzz.mutator import FoundError, fuzz
from tests.fuzz.sessions import play
from tests.fuzz.targets import TARGETS

_SECONDS = {Tier.STANDARD: 5, Tier.LONG: 120}  # for each target
_SESSIONS = {Tier.STANDARD: 300, Tier.LONG: 10_000}


@scenario(
    "20",
    title="Fuzz: the parsers of SMTP, content, PROXY and SNS, and SMTP sessions in arbitrary segments against a model",
    passes="no uncaught exception, no input that takes longer than 5 s, no reply but those that the model foretells",
    tiers={Tier.STANDARD: 70, Tier.LONG: 1_500},
)
def row_20(run: Run) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    run.stack.callback(structlog.reset_defaults)
    for name, target in TARGETS.items():
        try:
            tried, _ = fuzz(name, target, seconds=_SECONDS[run.tier], seed=time.time_ns())
        except FoundError as found:
            run.check(condition=False, sentence=str(found))
        else:
            run.figure(f"{name}: inputs", tried)
    seed = time.time_ns()
    try:
        run.figure("sessions", play(examples=_SESSIONS[run.tier], seed=seed))
    except AssertionError as found:
        run.check(condition=False, sentence=f"sessions go as the model says, but for seed {seed}: {found}")
