"""Performing one scenario: an empty directory, everything it started ended, and a result whatever happened."""

from __future__ import annotations

import contextlib
import platform
import shutil
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.chaos.results import Outcome, Result, commit, machine
from tests.chaos.scenario import Run, Scenario, Skipped, Tier


def perform(
    scenario: Scenario, tier: Tier, directory: Path, *, mutant: str | None = None, say: Callable[[str], None] = print
) -> Result:
    """The result. Only Ctrl-C, and what else is meant to end the whole rig, comes out as an exception.

    The directory stays when the scenario failed: the logs of all programs are in it.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    started, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.ExitStack() as stack:
        run = Run(tier, scenario.tiers.get(tier, max(scenario.tiers.values())), directory, stack, mutant, say)
        skipped = _play(scenario, run)
        outcome: Outcome = "skipped" if skipped else "failed" if run.failures else "passed"
    if outcome != "failed":
        shutil.rmtree(directory, ignore_errors=True)
    return Result(
        name=scenario.name,
        tier=tier,
        outcome=outcome,
        commit=commit(),
        at=at,
        seconds=round(time.monotonic() - started, 1),
        figures=run.figures,
        sentences=[skipped] if skipped else run.failures,
        mutant=mutant,
        broken=run.broken,
        machine=machine(),
        python=platform.python_version(),
    )


def _play(scenario: Scenario, run: Run) -> str:
    """Why it was skipped; empty when it was played. Skips and failures of shared test support are pytest's."""
    try:
        with run.stack:
            scenario.play(run)
    except (Skipped, pytest.skip.Exception) as skipped:
        return str(skipped) or "skipped"
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - any error is a failure of this scenario, not of the rig
        run.broken = True
        run.check(condition=False, sentence=f"{type(error).__name__}: {error}")
        run.say(traceback.format_exc())
    return ""
