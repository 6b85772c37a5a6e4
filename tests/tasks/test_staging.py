"""A copied database full of waiting mail, and a worker that must not send it."""

from __future__ import annotations

import pytest

from tests.support.mail import accept, rows
from tests.support.redis import Redis
from tests.support.sandbox import Sandbox
from tests.support.stores import sqlite_stores
from tests.support.waiting import until
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_sends_nothing_of_a_copied_queue_but_what_the_guard_allows(tmp_path, pool):
    stores = sqlite_stores(tmp_path)
    accept(stores, *(f"customer{number}@example.com" for number in range(10)), "qa@example.net")
    settings = {"SESGATE_ALLOWED_RECIPIENTS": "qa@example.net"}
    with Sandbox() as sandbox, Redis() as redis:
        with Worker(tmp_path, sandbox, "-P", pool, "-c", "2", SESGATE_BROKER_URL=redis.url, **settings) as worker:
            counted = "SELECT status, count(*) FROM recipients GROUP BY status ORDER BY status"
            until(lambda: rows(stores, counted) == [("CANCELLED", 10), ("SENT", 1)], what="all is kept or sent")
            assert "worker.staging_guard" in worker.log
        assert [message["recipients"] for message in sandbox.messages()] == [["qa@example.net"]]
    assert rows(stores, "SELECT count(*) FROM attempts") == [(1,)]
    stores.close()
