"""How fast mail is accepted while the queue is sent, against the same installation with sending paused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from benchmarks.accept import fire, quick_load
from benchmarks.drain import PROCESSES
from benchmarks.filling import fill_queue, mail_of
from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Shot, Stand
from benchmarks.gateway_programs import Gateway, gateway
from benchmarks.postfix import Load, find
from benchmarks.ses_stub import RunningStub, running_stub
from gateway.lifecycle import Status
from gateway.store.stores import Stores
from tests.support.redis import Redis
from tests.support.waiting import until

_NAME = "accept-draining"
_DRAINED = 200.0  # recipients a second
_RATE_FACTOR = 0.95  # the part of the account's rate that is used
_THREADS = 16
_SES_DELAY = 50.0
_LOAD = Load(8000, 2048)


def measurements() -> tuple[Measurement, ...]:
    title = f"accept 2 KB, kept connections, while draining at {_DRAINED:g}/s"
    bar = Bar(Kind.TIMES_AT_LEAST, 0.6, 0.8)
    figure = Figure(_NAME, title, "messages/s", bar, "itself with sending paused")
    return (Measurement(_NAME, (figure,), _set_up),)


@contextmanager
def _set_up(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    find("smtp-source")
    load = quick_load(_LOAD) if stand.plan.quick else _LOAD
    rate = _DRAINED / _RATE_FACTOR
    with (
        Redis() as redis,
        running_stub(stand.directory, delay=_SES_DELAY, rate=rate) as stub,
        gateway(stand, endpoint=stub.url, SESGATE_BROKER_URL=redis.url) as product,
        product.stores() as stores,
    ):
        product.command("queue", "pause")
        fill_queue(stores, stand.amount(20_000, 400), mail_of(2048))
        with product.smtp(), product.workers(PROCESSES, _THREADS):
            paused = partial(fire, product, stores, load)
            yield {_NAME: Pair(partial(_fire_while_draining, product, stores, stub, load), paused)}


def _fire_while_draining(product: Gateway, stores: Stores, stub: RunningStub, load: Load) -> Shot:
    """Sending goes on before the first mail and after the last one; how fast it went is told beside."""
    stub.forget()
    product.command("queue", "resume")
    until(lambda: stub.summary()["answered"] > _DRAINED / 4, what="the queue is being sent")
    sent, began = stub.summary()["answered"], time.perf_counter()
    shot = fire(product, stores, load)
    drained = (stub.summary()["answered"] - sent) / (time.perf_counter() - began)
    product.command("queue", "pause")
    until(lambda: not _being_sent(stores), what="what was begun is done")
    return Shot(shot.value, {"drained a second meanwhile": drained})


def _being_sent(stores: Stores) -> int:
    with stores.db.read() as sql:
        return int(sql.value(f"SELECT count(*) FROM recipients WHERE status = '{Status.SENDING}'"))
