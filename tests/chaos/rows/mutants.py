"""Scenario "mutants": a scenario proves something only if a broken build fails it."""

from __future__ import annotations

from tests.chaos.mutants import MUTANTS
from tests.chaos.perform import perform
from tests.chaos.scenario import Run, Skipped, Tier, load, scenario

_CAUGHT_BY = {
    "wal-normal": "sync",
    "boto-retries": "12",
    "no-shield": "slow-store",
    "no-sweep": "10",
    "claim-without-compare": "11",
    "stock-data": "15",
}
_QUICK = ("no-shield", "stock-data")


@scenario(
    "mutants",
    title="Six broken builds: WAL without sync, botocore's own retries, 451 for a commit under way, claims never given "
    "back, claims without compare-and-set, aiosmtpd's own reader of content",
    passes="each is caught by a check of the scenario that is about it",
    tiers={Tier.SHORT: 14, Tier.STANDARD: 100, Tier.LONG: 120},
)
def mutants(run: Run) -> None:
    wanted = _QUICK if run.tier is Tier.SHORT else tuple(MUTANTS)
    skipped = [name for name in wanted if not _is_caught(run, name)]
    if skipped:
        raise Skipped(f"strace is needed to catch {', '.join(skipped)}; the others were caught")


def _is_caught(run: Run, name: str) -> bool:
    """False when this machine lacks what is needed to try it. Whatever is no failed check has caught nothing."""
    by = load()[_CAUGHT_BY[name]]
    run.say(f"{name}, with scenario {by.name}")
    result = perform(by, Tier.SHORT, run.directory / name, mutant=name, say=lambda _: None)
    if result.outcome == "skipped":
        run.figure(name, f"not tried: {result.sentences[0]}")
        return False
    caught = result.outcome == "failed" and not result.broken
    told = result.sentences[0].partition(", but for")[0] if result.sentences else "it passed"
    run.figure(name, f"{'caught' if caught else 'NOT caught'} by {by.name}: {told}")
    run.check(caught, f"{name} is caught by scenario {by.name}: {told}")
    return True
