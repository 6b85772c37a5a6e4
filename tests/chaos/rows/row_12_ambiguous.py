"""Row 12: SES accepts a mail, and its answer is lost."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from tests.chaos.book import wait_for
from tests.chaos.client import burst
from tests.chaos.conclusion import settle
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start

_MAILS = {Tier.SHORT: 60, Tier.STANDARD: 300, Tier.LONG: 3_000}
_SHARE = 0.1
_SETTINGS = {"SESGATE_CLAIM_LEASE": "4s", "SESGATE_AMBIGUOUS_WAIT": "3s", "SESGATE_DISPATCHER_LEASE": "2s"}
_NO_EVENTS = ["Send", "Delivery"]


@dataclass(frozen=True)
class _Case:
    """A way to be configured, whether events come, and how often a mail may be sent for each lost answer of it."""

    name: str
    events: bool
    settings: dict[str, str]
    copies_for_each: int
    rests_as: str  # the status in which a mail whose answer was lost may stay


_CASES = (
    _Case("events", events=True, settings={}, copies_for_each=0, rests_as=""),
    _Case("resend", events=False, settings={"SESGATE_FEEDBACK": "identity"}, copies_for_each=1, rests_as=""),
    _Case(
        "hold",
        events=False,
        settings={"SESGATE_FEEDBACK": "identity", "SESGATE_AMBIGUOUS": "hold"},
        copies_for_each=0,
        rests_as="HELD",
    ),
    _Case("silence", events=False, settings={}, copies_for_each=0, rests_as="AMBIGUOUS"),
)


@scenario(
    "12",
    title="SES accepts, and a tenth of its answers is lost: time-out, reset or 500; with and without events",
    passes="with events D = 0; without: resend sends at most one copy more for each lost answer, hold and silence none "
    "and all of them are listed; one call for each attempt",
    tiers={Tier.SHORT: 14, Tier.STANDARD: 70, Tier.LONG: 400},
)
def ambiguous_answers(run: Run) -> None:
    chance = random.Random(random.randrange(1_000_000))
    for case in _CASES[:1] if run.tier is Tier.SHORT else _CASES:
        run.say(f"case: {case.name}")
        _play(run, case, chance)


def _play(run: Run, case: _Case, chance: random.Random) -> None:
    site = build(run, name=case.name, tapped=True, **_SETTINGS, **case.settings)
    tap = site.tap
    assert tap is not None
    if not case.events:
        site.programs.sandbox.set_faults(drop_events=_NO_EVENTS)
    start(site)
    tap.lose(_SHARE, chance)
    burst([site.programs.smtp_port], site.ledger, _MAILS[run.tier])
    wait_for(lambda: not site.book.count("QUEUED", "SENDING"), 60)
    tap.stop_faults()
    settle(run, site.book, 60, also=() if case.rests_as == "AMBIGUOUS" else ("AMBIGUOUS",))
    _judge(run, case, site, tap.lost_answers)
    calls = tap.most_calls_of_an_attempt()
    run.figure(f"{case.name}: calls for an attempt, at most", calls)
    run.check(calls == 1, f"{case.name}: each attempt is one call, and not {calls}")
    for name in site.programs.running():
        site.programs.kill(name)


def _judge(run: Run, case: _Case, site: Site, lost: Counter[str]) -> None:
    run.figure(f"{case.name}: answers lost", lost.total())
    run.check(lost.total() > 0, f"{case.name}: some answers were lost")
    allowed = {address: number * case.copies_for_each for address, number in lost.items()}
    site.conclude(ambiguous=allowed)
    for name in ("copies twice", "lost", "ambiguous at the end", "acknowledged", "sent"):
        run.figure(f"{case.name}: {name}", run.figures.pop(name))
    if case.rests_as:
        listed = {address for address, status in site.book.statuses().items() if status == case.rests_as}
        run.figure(f"{case.name}: listed as {case.rests_as}", len(listed))
        run.check(set(lost) <= listed, f"{case.name}: each mail whose answer was lost is listed as {case.rests_as}")
