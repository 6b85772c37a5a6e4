"""Scenario "slow-store": what the front answers while the database takes no write is true afterwards."""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter

from tests.chaos.client import Load
from tests.chaos.conclusion import settle
from tests.chaos.ledger import Answer
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start

_STALLS = {Tier.SHORT: 2, Tier.STANDARD: 6, Tier.LONG: 40}
_STALL = 1.2


@scenario(
    "slow-store",
    title="The write gate is shut for longer than a client is made to wait, again and again",
    passes="nothing answered 4xx is sent; L = 0, D = 0",
    tiers={Tier.STANDARD: 20, Tier.LONG: 150},
)
def slow_store(run: Run) -> None:
    site = build(run, SESGATE_GATE_TIMEOUT="300ms")
    start(site, workers=1, webhook=False)
    with Load([site.programs.smtp_port], site.ledger, rate=40, clients=8):
        for _ in range(_STALLS[run.tier]):
            time.sleep(0.4)
            _shut_the_gate(site)
        time.sleep(0.4)
    settle(run, site.book, 60)
    turned_away = Counter(site.ledger.read().values())[Answer.LATER]
    run.check(turned_away > 0, "the gate was shut long enough for somebody to be told to come later")
    site.conclude()


def _shut_the_gate(site: Site) -> None:
    gate = os.open(site.programs.directory / "sesgate.db-gate", os.O_RDWR)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        time.sleep(_STALL)
    finally:
        os.close(gate)
