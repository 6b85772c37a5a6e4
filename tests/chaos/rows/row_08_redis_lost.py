"""Row 8: Redis is lost in four ways under load, and nobody who sends mail notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.chaos.client import Load
from tests.chaos.conclusion import settle
from tests.chaos.ledger import Answer
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.support.redis import Redis

_SECONDS = {Tier.STANDARD: 8, Tier.LONG: 60}
_P99 = 1.0


@scenario(
    "8",
    title="Redis lost under load: emptied, killed and back empty, hanging, refusing connections, full (noeviction)",
    passes="250s keep flowing, their 99th percentile below 1 s; L = 0, D = 0; all sent within 60 s",
    tiers={Tier.STANDARD: 70, Tier.LONG: 400},
)
def redis_lost(run: Run) -> None:
    site = build(run, SESGATE_DISPATCH_TIMEOUT="2s", SESGATE_DISPATCHER_LEASE="2s")
    start(site)
    with Load([site.programs.smtp_port], site.ledger, rate=25) as load:
        for name, losing in _LOSSES.items():
            before = _acknowledged(site)
            with losing(site.programs.redis):
                run.say(f"Redis is {name}")
                time.sleep(_SECONDS[run.tier])
            meanwhile = _acknowledged(site) - before
            run.figure(f"acknowledged while {name}", meanwhile)
            run.check(meanwhile > 0, f"mail is acknowledged while Redis is {name}")
            time.sleep(_SECONDS[run.tier] / 3)
    took = settle(run, site.book, 60)
    run.figure("99th percentile of the seconds to 250", load.longest_usual_wait)
    run.figure("seconds until all is sent after Redis is back", took or 0.0)
    run.check(load.longest_usual_wait < _P99, f"99 of 100 mails are acknowledged within {_P99} s")
    site.conclude()


def _acknowledged(site: Site) -> int:
    return sum(answer is Answer.ACKNOWLEDGED for answer in site.ledger.read().values())


@contextmanager
def _emptied(redis: Redis) -> Iterator[None]:
    with redis.client() as client:
        client.flushall()
    yield


@contextmanager
def _killed(redis: Redis) -> Iterator[None]:
    redis.kill()
    redis.start()
    yield


@contextmanager
def _hanging(redis: Redis) -> Iterator[None]:
    redis.hang()
    try:
        yield
    finally:
        redis.go_on()


@contextmanager
def _refusing(redis: Redis) -> Iterator[None]:
    redis.kill()
    try:
        yield
    finally:
        redis.start()


@contextmanager
def _full(redis: Redis) -> Iterator[None]:
    with redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


_LOSSES: dict[str, Callable[[Redis], AbstractContextManager[None]]] = {
    "emptied": _emptied,
    "back empty": _killed,
    "hanging": _hanging,
    "away": _refusing,
    "full": _full,
}
