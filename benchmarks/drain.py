"""How fast the queue is sent, against boto3 alone in as many processes with as many threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.bare_boto3 import waiting_callers
from benchmarks.filling import fill_queue, mail_of
from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Shot, Stand, UnsoundError
from benchmarks.gateway_programs import Gateway, flush, gateway
from benchmarks.ses_stub import RunningStub, running_stub
from gateway.store.stores import Stores
from tests.support.redis import Redis
from tests.support.waiting import until

PROCESSES = 2
_OCTETS = 2048
_BAR = Bar(Kind.TIMES_AT_LEAST, 0.70, 0.85)
# The threads with which boto3 alone was fastest on two cores: few where SES answers at once, many where it is awaited.
_THREADS = {0: 8, 50: 64}


@dataclass(frozen=True, slots=True)
class _Job:
    """So many mails through so many threads in each of the processes."""

    mails: int
    threads: int


def measurements() -> tuple[Measurement, ...]:
    return (*map(_drain, _THREADS), *map(_one_cpu, _THREADS))


def _drain(delay: int) -> Measurement:
    name = f"drain-{delay}"
    threads = _THREADS[delay]
    title = f"drain, SES answers after {delay} ms"
    peer = f"bare boto3, {PROCESSES} processes x {threads} threads"
    figure = Figure(name, title, "mails/s", _BAR, peer)
    return Measurement(name, (figure,), partial(_side_by_side, name=name, delay=delay))


def _one_cpu(delay: int) -> Measurement:
    """What of the drain is not ours alone: boto3 would gain by it, too."""
    name = f"boto3-one-cpu-{delay}"
    threads = _THREADS[delay]
    title = f"boto3 alone, each process on one CPU, SES answers after {delay} ms"
    peer = f"left to the kernel, {PROCESSES} processes x {threads} threads"
    figure = Figure(name, title, "mails/s", Bar(Kind.TIMES_AT_LEAST, None, None), peer)
    return Measurement(name, (figure,), partial(_boto3_alone, name=name, delay=delay))


@contextmanager
def _boto3_alone(stand: Stand, *, name: str, delay: int) -> Iterator[Mapping[str, Pair]]:
    job = _Job(stand.amount(20_000, 60), _THREADS[delay])
    with (
        running_stub(stand.directory, delay=delay, rate=stand.plan.rate) as stub,
        gateway(stand, endpoint=stub.url) as product,
    ):
        call = partial(_call, product, stub, job)
        yield {name: Pair(partial(call, one_cpu=True), call)}


@contextmanager
def _side_by_side(stand: Stand, *, name: str, delay: int) -> Iterator[Mapping[str, Pair]]:
    job = _Job(stand.amount(20_000, 60), _THREADS[delay])
    with (
        Redis() as redis,
        running_stub(stand.directory, delay=delay, rate=stand.plan.rate) as stub,
        gateway(stand, endpoint=stub.url, SESGATE_BROKER_URL=redis.url) as product,
        product.stores() as stores,
    ):
        yield {name: Pair(partial(_drain_queue, product, stores, stub, job), partial(_call, product, stub, job))}


def _drain_queue(product: Gateway, stores: Stores, stub: RunningStub, job: _Job) -> Shot:
    """Workers that are up, and wait, are let go. From SES's first call to its last answer."""
    product.command("queue", "pause")
    fill_queue(stores, job.mails, mail_of(_OCTETS))
    with product.workers(PROCESSES, job.threads):
        until(lambda: stores.control.get("account") is not None, what="the dispatcher knows the account's rate")
        stub.forget()
        flush()
        product.command("queue", "resume")
        until(
            lambda: stub.summary()["answered"] >= job.mails,
            seconds=600,
            every=0.25,
            what="SES was called for each mail",
        )
        until(lambda: not unfinished(stores), what="each mail is recorded as sent")
    require_each_once(stub, job.mails)
    return Shot(job.mails / stub.summary()["seconds"])


def _call(product: Gateway, stub: RunningStub, job: _Job, *, one_cpu: bool = False) -> Shot:
    log = product.directory / "bare.log"
    options = ("--threads", str(job.threads), "--octets", str(_OCTETS), *(["--one-cpu"] if one_cpu else []))
    with waiting_callers(product.environ, log, options, processes=PROCESSES, calls=job.mails) as callers:
        stub.forget()
        flush()
        callers.go()
    summary = stub.summary()
    return Shot(summary["answered"] / summary["seconds"])


def unfinished(stores: Stores) -> int:
    """Recipients that are not recorded as sent."""
    with stores.db.read() as sql:
        return int(
            sql.value("SELECT count(*) FROM recipients WHERE status IN ('QUEUED', 'SENDING', 'AMBIGUOUS', 'HELD')")
        )


def require_each_once(stub: RunningStub, mails: int) -> None:
    """UnsoundError when a mail was lost or doubled."""
    given = stub.addresses()
    if len(given) != mails or len(set(given)) != mails:
        raise UnsoundError(f"of {mails} mails SES was given {len(set(given))}, in {len(given)} calls")
