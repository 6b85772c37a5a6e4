"""Everything at once for minutes: what is promised to clients is held against what SES was given."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from benchmarks.drain import PROCESSES, unfinished
from benchmarks.filling import mail_of
from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Shot, Stand, UnsoundError
from benchmarks.gateway_programs import Gateway, gateway
from benchmarks.ses_stub import RunningStub, running_stub
from benchmarks.smtp_load import Ledger, send_for
from gateway.store.stores import Stores
from tests.support.redis import Redis
from tests.support.waiting import until

_NAME = "end-to-end"
_SESSIONS = 50
_THREADS = 64
_OCTETS = 5 * 1024
_LONGEST_DRAIN = 3 * 3600.0


def measurements() -> tuple[Measurement, ...]:
    title = f"end to end, 5 KB, {_SESSIONS} sessions, one message per connection, SES 50 ms: 99 % of the 250 within"
    figure = Figure(_NAME, title, "ms", Bar(Kind.VALUE_AT_MOST, None, 500.0))
    return (Measurement(_NAME, (figure,), _set_up, rounds=1),)


@contextmanager
def _set_up(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    seconds = 2.0 if stand.plan.quick else stand.plan.minutes * 60
    with (
        Redis() as redis,
        running_stub(stand.directory, delay=50, rate=stand.plan.rate) as stub,
        gateway(stand, endpoint=stub.url, SESGATE_BROKER_URL=redis.url) as product,
        product.stores() as stores,
        product.smtp(),
        product.workers(PROCESSES, _THREADS),
    ):
        yield {_NAME: Pair(partial(_all_the_way, stand, product, stores, stub, seconds))}


def _all_the_way(stand: Stand, product: Gateway, stores: Stores, stub: RunningStub, seconds: float) -> Shot:
    ledger = send_for(seconds, product.port, mail_of(_OCTETS), _SESSIONS)
    stand.say(f"{len(ledger.promised):,} accepted; the rest of the queue is sent")
    sent_meanwhile = stub.summary()["answered"]
    began = time.perf_counter()
    until(lambda: not unfinished(stores), seconds=_LONGEST_DRAIN, every=2.0, what="the queue is empty")
    left = time.perf_counter() - began
    _compare(ledger, stub.addresses())
    waits = statistics.quantiles(ledger.waits, n=100)
    return Shot(
        waits[98] * 1000,
        {
            "minutes": seconds / 60,
            "accepted, each sent once": len(ledger.promised),
            "accepted a second": len(ledger.promised) / seconds,
            "sent a second meanwhile": sent_meanwhile / seconds,
            "seconds until the queue was empty": left,
            "median of the 250, ms": waits[49] * 1000,
            "longest, ms": max(ledger.waits) * 1000,
            "refused": len(ledger.refusals),
        },
    )


def _compare(ledger: Ledger, given: list[str]) -> None:
    """UnsoundError when a mail was lost or doubled. What was refused may have been kept only if no reply came."""
    copies = Counter(given)
    lost = [address for address in ledger.promised if address not in copies]
    doubled = [address for address, times in copies.items() if times > 1]
    if lost or doubled:
        raise UnsoundError(f"of {len(ledger.promised)} mails {len(lost)} were lost and {len(doubled)} sent twice")
    if not ledger.promised:
        raise UnsoundError(f"no mail was accepted: {ledger.refusals[:1]}")
