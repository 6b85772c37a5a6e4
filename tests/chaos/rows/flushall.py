"""Scenario "flushall": the broker forgets everything while half of all tasks are in it.

There are never many: no more recipients are marked than the workers claim while a mark is young, in sixteen tasks or
more. So here are fewer threads than tasks.
"""

from __future__ import annotations

from typing import Any

import redis

from tests.chaos.book import Book, wait_for
from tests.chaos.client import burst
from tests.chaos.conclusion import conclude, settle
from tests.chaos.ledger import Ledger
from tests.chaos.scenario import Run, Tier, scenario
from tests.support.installation import Installation
from tests.support.waiting import until

_MAILS = {Tier.STANDARD: 4_000, Tier.LONG: 10_000}
_FLUSHES = 5
_LATENCY = 50
_RATE = 3_000.0
_THREADS = 2  # in each of two workers
_ENOUGH = 8  # tasks that Redis holds, of a dozen mails or more


@scenario(
    "flushall",
    title="Mail drains by few threads, so that tasks wait; FLUSHALL of the own Redis five times, and kill -9 once",
    passes="each mail is sent exactly once",
    tiers={Tier.STANDARD: 110, Tier.LONG: 300},
)
def flushed(run: Run) -> None:
    directory, mails = run.directory / "var", _MAILS[run.tier]
    settings = {"SESGATE_WORKERS": "2", "SESGATE_WORKER_THREADS": str(_THREADS)}
    installation = run.stack.enter_context(Installation(directory, **settings))
    book = run.stack.enter_context(Book(directory))
    ledger = run.stack.enter_context(Ledger(run.directory / "ledger"))
    installation.set_faults(latency_ms=_LATENCY, drop_events=["Delivery"])
    # Faster than SES answers, so that tasks wait in Redis.
    installation.set_account(max_send_rate=_RATE)
    assert installation.cli("queue", "pause").returncode == 0
    burst([installation.smtp_port], ledger, mails)
    run.say(f"{mails} mails are accepted")
    assert installation.cli("queue", "resume").returncode == 0
    with redis.Redis(unix_socket_path=str(directory / "redis.sock"), socket_timeout=5) as client:
        for number in range(1, _FLUSHES + 1):
            tasks = _wait_for_tasks(book, client, queued=mails * (_FLUSHES + 3 - number) // (_FLUSHES + 3))
            client.flushall()
            run.figure(f"tasks in Redis at FLUSHALL {number}", tasks)
            run.check(tasks >= _ENOUGH, f"only {tasks} tasks were in Redis to be forgotten")
            run.say(f"FLUSHALL {number} of {tasks} tasks; {book.count('QUEUED')} mails are still queued")
    installation.kill("redis")
    run.say(f"kill -9 of Redis; {book.count('QUEUED')} are still queued")
    settle(run, book, 180)
    accepted = until(installation.sent)
    conclude(run, ledger, accepted, book)
    run.check(len(accepted) == mails, f"SES accepted {len(accepted)} copies of {mails} mails")


def _wait_for_tasks(book: Book, client: redis.Redis, *, queued: int) -> int:
    """How many tasks are in Redis, at a moment when many are and only so many mails are left."""
    wait_for(lambda: book.count("QUEUED") <= queued and _tasks(client) >= _ENOUGH, 60, every=0.01)
    return _tasks(client)


def _tasks(client: redis.Redis) -> int:
    """Those that nobody has taken yet, and those that a worker has taken and not begun."""
    waiting: Any = client.llen("sesgate:sesgate.send")
    taken: Any = client.hlen("sesgate:unacked")
    return int(waiting) + int(taken)
