"""Row 10: workers are killed while SES is being called, one process of the pool or all of them."""

from __future__ import annotations

import threading
import time
from typing import Self

from tests.chaos.book import Book, wait_for
from tests.chaos.client import Load
from tests.chaos.conclusion import settle
from tests.chaos.nemesis import HandNemesis
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import build, start

_KILLS = {Tier.SHORT: 4, Tier.STANDARD: 20, Tier.LONG: 100}
_LEASE = 6
_GRACE = 30


@scenario(
    "10",
    title="Workers killed with -9 in calls that take 1 s, a child of the pool or the whole group; half without events",
    passes="L = 0, D = 0; settled, AMBIGUOUS or back in flight within the lease + 30 s",
    tiers={Tier.SHORT: 16, Tier.STANDARD: 75, Tier.LONG: 500},
)
def killed_workers(run: Run) -> None:
    site = build(run, SESGATE_CLAIM_LEASE=f"{_LEASE}s", SESGATE_DISPATCHER_LEASE="2s", SESGATE_DISPATCH_TIMEOUT="2s")
    workers = ("worker1",) if run.tier is Tier.SHORT else ("worker1", "worker2")
    start(site, workers=len(workers), options=("-c", "3"))
    site.programs.sandbox.set_faults(latency_ms=1000)
    kills = _KILLS[run.tier]
    nemesis = HandNemesis(run, site.programs, site.book)
    with Watch(site.book) as watch, Load([site.programs.smtp_port], site.ledger, rate=5, clients=2):
        for number in range(kills):
            if number == kills // 2:
                # From here on there is no evidence: only a lapsed lease ends what a dead worker had claimed.
                site.programs.sandbox.set_faults(latency_ms=1000, drop_events=["Send", "Delivery"])
            wait_for(lambda: site.book.count("SENDING") > 1, 30)
            time.sleep(nemesis.chance.uniform(0, 1))  # at any moment of the call
            if number % 2 or not nemesis.kill_child(nemesis.chance.choice(workers)):
                nemesis.kill_one(*workers)
    with watch:
        # A build that gives nothing back would wait for its end in vain.
        settle(run, site.book, _LEASE + (_GRACE if run.mutant is None else 9) + 10)
    nemesis.figures()
    run.figure("seconds until settled, AMBIGUOUS or back in flight, at most", watch.longest)
    if run.tier is not Tier.SHORT:
        run.check(watch.longest <= _LEASE + _GRACE, f"no claim is kept for {watch.longest:.0f} s")
    site.conclude()


class Watch:
    """How long a claim lasts, at most, as seen from outside. Enter it as often as needed."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._done = threading.Event()
        self._since: dict[tuple[int, str], float] = {}
        self._thread: threading.Thread | None = None
        self.longest = 0.0

    def __enter__(self) -> Self:
        self._done.clear()
        self._thread = threading.Thread(target=self._look, name="watch")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.2):
            now = time.monotonic()
            claims = self._book.rows("SELECT id, attempt_id FROM recipients WHERE status = 'SENDING'")
            self._since = {(id_, attempt): self._since.get((id_, attempt), now) for id_, attempt in claims}
            self.longest = max([self.longest, *(now - since for since in self._since.values())])
