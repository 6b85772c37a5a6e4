"""The short tier of the rig: every scenario that has one, in three minutes all together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.perform import perform
from tests.chaos.scenario import Scenario, Tier, load

_MAY_BE_MISSING = ("strace", "loop", "mount", "faketime", "root")
"""What a machine of CI need not have: tools and rights that containers often lack."""

_SHORT = [one for one in load().values() if Tier.SHORT in one.tiers]


def test_the_short_tier_fits_into_three_minutes() -> None:
    assert sum(one.tiers[Tier.SHORT] for one in _SHORT) <= 180


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", _SHORT, ids=lambda one: one.name)
def test_scenario(scenario: Scenario, tmp_path: Path) -> None:
    result = perform(scenario, Tier.SHORT, tmp_path / "run")
    if result.outcome == "skipped":
        reason = result.sentences[0]
        if os.environ.get("CI") == "true" and not any(word in reason for word in _MAY_BE_MISSING):
            pytest.fail(f"skipped in CI: {reason}")
        pytest.skip(reason)
    assert result.outcome == "passed", (result.sentences, result.figures)
