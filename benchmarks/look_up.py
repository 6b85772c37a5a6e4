"""The look-up of suppressions at RCPT; `benchmarks.suppressions` measures it at length, and on cold caches."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from benchmarks.filling import SUPPRESSED, fill_suppressions
from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Shot, Stand, UnsoundError
from benchmarks.gateway_programs import gateway
from gateway.addresses import parse_mailbox
from gateway.envelope import LOCAL_CREDENTIAL
from gateway.store.stores import Stores

_NAME = "look-up"
_ROWS = 1_000_000
_TIMES = 20_000


def measurements() -> tuple[Measurement, ...]:
    title = f"suppression look-up among {_ROWS:,} entries, half of them hits, median"
    return (Measurement(_NAME, (Figure(_NAME, title, "µs", Bar(Kind.VALUE_AT_MOST, None, None)),), _set_up),)


@contextmanager
def _set_up(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    rows = stand.amount(_ROWS, 1000)
    with gateway(stand) as product, product.stores() as stores:
        fill_suppressions(stores, rows, after=product.suppressions)
        yield {_NAME: Pair(partial(_look_up, stores, rows, stand.amount(_TIMES, 200)))}


def _look_up(stores: Stores, rows: int, times: int) -> Shot:
    waits = []
    for _ in range(times):
        number = random.randrange(1, 2 * rows)  # noqa: S311  any will do
        mailbox = parse_mailbox(SUPPRESSED.format(number))
        began = time.perf_counter()
        found = stores.suppressions.find(mailbox, LOCAL_CREDENTIAL)
        waits.append((time.perf_counter() - began) * 1e6)
        if (found is not None) != (number <= rows):
            raise UnsoundError(f"{mailbox} was not told apart")
    return Shot(statistics.median(waits), {"99 %, µs": statistics.quantiles(waits, n=100)[98]})
