"""A worker that is asked to end writes down what it has begun and ends, whatever its broker does at that moment."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.support.mail import accept, rows
from tests.support.redis import Redis
from tests.support.sandbox import Sandbox
from tests.support.stores import sqlite_stores
from tests.support.waiting import until
from tests.support.worker import Worker

THREADS, PREFORK = ("-P", "threads", "-c", "4"), ("-P", "prefork", "-c", "2")


def stores_with_mail(tmp_path):
    stores = sqlite_stores(tmp_path)
    accept(stores, *(f"n{number}@example.com" for number in range(40)))
    return stores


@contextmanager
def slow_worker(tmp_path, sandbox, redis, pool):
    """A worker that has begun to send, each call for a second."""
    sandbox.set_faults(latency_ms=1000)
    with Worker(tmp_path, sandbox, *pool, SESGATE_BROKER_URL=redis.url, SESGATE_CLAIM_LEASE="60s") as worker:
        until(sandbox.messages, what="the worker sends")
        yield worker


def send_on(sandbox):
    """The third call is made without the broker, and while it lasts the worker is asked to end."""
    sent = len(sandbox.messages())
    until(lambda: len(sandbox.messages()) > sent + 2, what="the worker sends on")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("outage", "pool"),
    [("kill", THREADS), ("hang", PREFORK)],
    ids=["gone", "hanging"],
)
def test_a_worker_without_its_broker_ends_when_it_is_asked_to(tmp_path, outage, pool):
    stores = stores_with_mail(tmp_path)
    with Redis() as redis, Sandbox() as sandbox:
        with slow_worker(tmp_path, sandbox, redis, pool) as worker:
            getattr(redis, outage)()
            send_on(sandbox)
            assert worker.stop() == 0, worker.log
            # Celery's own words on a connection that was lost have a traceback; a failing end would name this error.
            assert "AttributeError" not in worker.log
        if outage == "hang":
            redis.go_on()
        copies = len(sandbox.messages())
    outcomes = rows(stores, "SELECT outcome, count(*) FROM attempts GROUP BY outcome")
    left = rows(stores, "SELECT status, count(*) FROM recipients GROUP BY status")
    stores.close()
    assert outcomes == [("accepted", copies)]
    assert dict(left) in ({"SENT": copies, "QUEUED": 40 - copies}, {"SENT": 40})


@pytest.mark.timeout(240)
def test_a_worker_that_is_told_to_end_at_once_leaves_no_call_of_its_dispatcher_in_doubt(tmp_path):
    stores = stores_with_mail(tmp_path)
    with Redis() as redis, Sandbox() as sandbox:
        with slow_worker(tmp_path, sandbox, redis, PREFORK) as worker:
            redis.kill()
            send_on(sandbox)
            worker.quit()
        copies = len(sandbox.messages())
    outcomes = rows(stores, "SELECT outcome, count(*) FROM attempts GROUP BY outcome")
    stores.close()
    assert outcomes == [("accepted", copies)]
