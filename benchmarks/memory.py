"""What large mail costs in the front's memory, and mail in flight in Redis."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.drain import unfinished
from benchmarks.filling import fill_queue, mail_of
from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Shot, Stand, UnsoundError
from benchmarks.gateway_programs import Gateway, gateway
from benchmarks.ses_stub import RunningStub, running_stub
from gateway.broker import KEY_PREFIX, SEND_QUEUE
from gateway.store.stores import Stores
from gateway.store.times import now_micros
from tests.support.redis import Redis
from tests.support.waiting import until

_RECEIVING, _IN_FLIGHT = "memory-receiving", "memory-redis"
_LARGE = 20_000_000
_ENOUGH = 1000  # in flight
_RATE = 1000.0  # two seconds of it are in flight
_STILL = 8_000.0  # milliseconds in which no call to SES ends


def measurements() -> tuple[Measurement, ...]:
    receiving = Figure(
        _RECEIVING,
        "peak memory of the front while it receives a message of 20 MB",
        "times its size",
        Bar(Kind.VALUE_AT_MOST, 2.2, 2.2),
    )
    in_flight = Figure(
        _IN_FLIGHT, "Redis, with 1,000 or more messages in flight", "bytes a message", Bar(Kind.VALUE_AT_MOST, 64, 64)
    )
    return (
        Measurement(_RECEIVING, (receiving,), _receiving, rounds=5),
        Measurement(_IN_FLIGHT, (in_flight,), _in_flight, rounds=1),
    )


# Receiving


@contextmanager
def _receiving(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    with gateway(stand) as product:
        yield {_RECEIVING: Pair(partial(_receive, product, mail_of(stand.amount(_LARGE, 200_000))))}


def _receive(product: Gateway, content: bytes) -> Shot:
    """A front of its own for each: what it needed for the last one it may have kept."""
    with product.smtp() as front:
        _send(product, mail_of(2048))
        before = _status(front, "VmRSS")
        _forget_peak(front)
        _send(product, content)
        return Shot((_status(front, "VmHWM") - before) / len(content), {"before it, MB": before / 1e6})


def _send(product: Gateway, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", product.port, timeout=120) as client:
        if client.sendmail("a@example.test", ["b@example.test"], content):
            raise UnsoundError("the message was refused")


def _forget_peak(pid: int) -> None:
    """The kernel begins its peak anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _status(pid: int, name: str) -> int:
    """A size of the process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


# In flight


@contextmanager
def _in_flight(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    with (
        Redis() as redis,
        running_stub(stand.directory, delay=_STILL, rate=_RATE) as stub,
        gateway(stand, endpoint=stub.url, SESGATE_BROKER_URL=redis.url, SESGATE_DISPATCH_TIMEOUT="60s") as product,
        product.stores() as stores,
    ):
        yield {_IN_FLIGHT: Pair(partial(_weigh, product, stores, redis, stub))}


def _weigh(product: Gateway, stores: Stores, redis: Redis, stub: RunningStub) -> Shot:
    """What Redis keeps more with messages in flight than with the same programs and none."""
    product.command("queue", "pause")
    fill_queue(stores, 5 * _ENOUGH, mail_of(2048))
    with product.workers(1, 1):
        until(lambda: stores.control.get("account") is not None, what="the dispatcher knows the account's rate")
        kept, used = _in_keys(redis), _used(redis)
        product.command("queue", "resume")
        until(lambda: stub.summary()["calls"] and _is_settled(redis), every=1.0, what="Redis has what is in flight")
        kept, used, marked = _in_keys(redis) - kept, _used(redis) - used, _marked(stores)
        product.command("queue", "pause")
    if marked < _ENOUGH or not unfinished(stores):
        raise UnsoundError(f"only {marked} messages were in flight")
    return Shot(kept / marked, {"in flight": marked, "whole process, bytes more": used})


class _Length:
    """How long the queue was when it was last looked at."""

    last = -1


def _is_settled(redis: Redis) -> bool:
    with redis.client() as client:
        now = int(client.llen(f"{KEY_PREFIX}{SEND_QUEUE}"))
    settled, _Length.last = now == _Length.last and now > 0, now
    return settled


def _in_keys(redis: Redis) -> int:
    """Bytes of all that Redis keeps, each key in whole. What its connections and scripts take is not per message."""
    with redis.client() as client:
        return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.keys("*"))


def _used(redis: Redis) -> int:
    with redis.client() as client:
        return int(client.info("memory")["used_memory"])


def _marked(stores: Stores) -> int:
    with stores.db.read() as sql:
        return int(
            sql.value(
                "SELECT count(*) FROM recipients WHERE status = 'QUEUED' AND dispatched_until > ?", (now_micros(),)
            )
        )
