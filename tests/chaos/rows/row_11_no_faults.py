"""Row 11: without faults nothing is sent twice, although several processes look at the same mail."""

from __future__ import annotations

import threading
from typing import Self

from gateway.broker import make_app
from gateway.dispatch import BrokerError, Dispatch
from tests.chaos.client import burst
from tests.chaos.conclusion import settle
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start

_MAILS = {Tier.SHORT: 100, Tier.STANDARD: 3_000, Tier.LONG: 50_000}
_WORKERS = 4


@scenario(
    "11",
    title="No duplicates without faults: four worker processes, three standbys, every hint given three times",
    passes="D = 0, L = 0",
    tiers={Tier.SHORT: 10, Tier.STANDARD: 50, Tier.LONG: 900},
)
def no_duplicates_without_faults(run: Run) -> None:
    site = build(run)
    start(site, workers=2 if run.tier is Tier.SHORT else _WORKERS)
    site.programs.sandbox.set_faults(latency_ms=50)  # long enough for a second worker to meet a mail that is being sent
    with Gossip(site, most=5 * _MAILS[run.tier]) as gossip:
        burst([site.programs.smtp_port], site.ledger, _MAILS[run.tier])
        settle(run, site.book, _MAILS[run.tier] / 20 + 30)
    run.figure("hints given twice or more", gossip.hints)
    run.check(gossip.hints > 0, "hints were given twice")
    site.conclude()


class Gossip:
    """Publishes the ids of everything that was ever accepted, again and again, as a confused dispatcher might."""

    def __init__(self, site: Site, most: int) -> None:
        self._site = site
        self._most = most
        self._dispatch = Dispatch(make_app(site.programs.redis.url))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._talk, name="gossip")
        self.hints = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _talk(self) -> None:
        while not self._done.wait(0.1) and self.hints < self._most:
            # Marked: the dispatcher's own hint is on its way. SENDING: somebody works on it. SENT: late by far.
            ids = [
                row[0]
                for row in self._site.book.rows(
                    "SELECT id FROM recipients WHERE status = 'SENDING' OR dispatched_until IS NOT NULL"
                    " UNION SELECT max(id) FROM recipients WHERE status IN ('SENT', 'DELIVERED') LIMIT 100"
                )
                if row[0] is not None
            ]
            for id_ in ids:
                for _ in range(2):
                    self._publish(id_)

    def _publish(self, id_: int) -> None:
        try:
            self._dispatch.send([id_])
        except BrokerError:
            return
        self.hints += 1
