"""Scenario "flushall": the broker forgets everything, under load, and while half of all tasks are in it.

There are never many: no more recipients are marked than the workers claim while a mark is young, in sixteen tasks or
more, and each thread takes one of them. So the second half has fewer threads than tasks.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import redis

from tests.chaos.book import Book, wait_for
from tests.chaos.client import burst
from tests.chaos.conclusion import conclude, settle
from tests.chaos.ledger import Ledger
from tests.chaos.scenario import Run, Tier, scenario
from tests.support.installation import Installation
from tests.support.waiting import until

_FLUSHES = 5
_RATE = 3_000.0  # faster than SES answers


@dataclass(frozen=True, slots=True)
class _Half:
    """So many mails, by so many threads in each of the workers. `enough`: tasks that a flush is to find in Redis."""

    name: str
    mails: int
    workers: int
    threads: int
    latency_ms: int
    enough: int


_LOADED = _Half("many threads", 10_000, 4, 24, 500, 0)
_WAITING = _Half("few threads", 4_000, 2, 2, 50, 20)


@scenario(
    "flushall",
    title="FLUSHALL of the gateway's own Redis five times, and kill -9 once: while 96 threads drain 10,000 mails at an"
    " SES latency of 500 ms, and while few drain 4,000, so that tasks wait",
    passes="each mail is sent exactly once",
    tiers={Tier.STANDARD: 195, Tier.LONG: 195},
)
def flushed(run: Run) -> None:
    for half in (_LOADED, _WAITING):
        with ExitStack() as stack:
            _flush_while_draining(run, half, stack)


def _flush_while_draining(run: Run, half: _Half, stack: ExitStack) -> None:
    place = run.directory / half.name.replace(" ", "-")
    place.mkdir()
    directory = place / "var"
    settings = {"SESGATE_WORKERS": str(half.workers), "SESGATE_WORKER_THREADS": str(half.threads)}
    installation = stack.enter_context(Installation(directory, **settings))
    book = stack.enter_context(Book(directory))
    ledger = stack.enter_context(Ledger(place / "ledger"))
    installation.set_faults(latency_ms=half.latency_ms, drop_events=["Delivery"])
    installation.set_account(max_send_rate=_RATE)
    assert installation.cli("queue", "pause").returncode == 0
    burst([installation.smtp_port], ledger, half.mails)
    run.say(f"{half.name}: {half.mails} mails are accepted")
    assert installation.cli("queue", "resume").returncode == 0
    with redis.Redis(unix_socket_path=str(directory / "redis.sock"), socket_timeout=5) as client:
        for number in range(1, _FLUSHES + 1):
            left = half.mails * (_FLUSHES + 3 - number) // (_FLUSHES + 3)
            tasks = _wait_for_tasks(book, client, queued=left, enough=half.enough)
            client.flushall()
            run.figure(f"{half.name}: tasks in Redis at FLUSHALL {number}", tasks)
            run.check(tasks >= half.enough, f"only {tasks} tasks were in Redis to be forgotten")
            run.say(f"FLUSHALL {number} of {tasks} tasks; {book.count('QUEUED')} mails are still queued")
    installation.kill("redis")
    run.say(f"kill -9 of Redis; {book.count('QUEUED')} are still queued")
    settle(run, book, 180)
    accepted = until(installation.sent)
    conclude(run, ledger, accepted, book)
    run.check(len(accepted) == half.mails, f"SES accepted {len(accepted)} copies of {half.mails} mails")


def _wait_for_tasks(book: Book, client: redis.Redis, *, queued: int, enough: int) -> int:
    """How many tasks are in Redis, at a moment when enough are and only so many mails are left."""
    wait_for(lambda: book.count("QUEUED") <= queued and _tasks(client) >= enough, 60, every=0.01)
    return _tasks(client)


def _tasks(client: redis.Redis) -> int:
    """Those that nobody has taken yet, and those that a worker has taken and not begun."""
    waiting: Any = client.llen("sesgate:sesgate.send")
    taken: Any = client.hlen("sesgate:unacked")
    return int(waiting) + int(taken)
