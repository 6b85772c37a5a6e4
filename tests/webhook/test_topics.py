from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.sns_topics import TopicsError
from gateway.store.errors import StoreUnavailableError
from tests.support.stores import sqlite_stores
from webhook.topics import TrustedTopics

CONFIGURED = "arn:aws:sns:eu-west-1:123456789012:configured"
MADE = "arn:aws:sns:eu-west-1:123456789012:made"
SIMULATED = "arn:aws:sns:us-east-1:000000000000:sesgate"


class Table:
    """The row of `control`, which may be away; and a clock."""

    def __init__(self, value=None) -> None:
        self.value = value
        self.reads = 0
        self.now = 0.0

    def read(self):
        self.reads += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def topics(self, configured=(CONFIGURED,), stamp="aws"):
        return TrustedTopics(configured, self.read, stamp, lambda: self.now)


def test_the_settings_and_the_table_are_trusted_together():
    assert Table().topics()() == {CONFIGURED}
    assert Table({"arns": [MADE, CONFIGURED]}).topics()() == {CONFIGURED, MADE}
    assert Table({"arns": [MADE]}).topics(())() == {MADE}


def test_the_table_is_read_again_after_a_few_seconds_and_not_before():
    table = Table()
    topics = table.topics()
    table.value = {"arns": [MADE]}
    assert [topics() for _ in range(5)] == [{CONFIGURED}] * 5
    assert table.reads == 1
    table.now += 2
    assert topics() == {CONFIGURED, MADE}
    table.value = {"arns": []}
    table.now += 2
    assert topics() == {CONFIGURED}


@pytest.mark.parametrize(
    "trouble",
    [
        StoreUnavailableError("away"),
        {"arns": "everything"},
        {"arns": [1]},
        {"arns": ["arn"]},
        {"arns": [SIMULATED]},
    ],
)
def test_trouble_with_the_table_keeps_the_last_known_set(trouble):
    table = Table({"arns": [MADE]})
    topics = table.topics()
    table.value = trouble
    table.now += 2
    assert topics() == {CONFIGURED, MADE}
    assert topics() == {CONFIGURED, MADE}
    assert table.reads == 2


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (StoreUnavailableError("away"), StoreUnavailableError),
        ({"arns": "everything"}, TopicsError),
        ({"arns": [SIMULATED]}, TopicsError),
    ],
)
def test_trouble_with_the_table_is_no_way_to_start(trouble, error):
    with pytest.raises(error):
        Table(trouble).topics()


def test_simulated_topics_are_no_way_to_start_with_a_real_database():
    with pytest.raises(TopicsError):
        Table().topics([SIMULATED], "aws")
    assert Table().topics([SIMULATED], "sandbox")() == {SIMULATED}


def test_requests_do_not_wait_for_a_slow_table():
    reading, go_on = threading.Event(), threading.Event()
    table = Table()
    topics = table.topics()

    def slow():
        reading.set()
        assert go_on.wait(30)
        return {"arns": [MADE]}

    table.read, topics._read = slow, slow
    table.now += 2
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(topics)
        assert reading.wait(30)
        assert topics() == {CONFIGURED}
        go_on.set()
        assert first.result(30) == {CONFIGURED, MADE}


def test_it_follows_the_real_store(tmp_path):
    stores = sqlite_stores(tmp_path)
    try:
        stores.control.put("topics", {"arns": [SIMULATED]})
        assert TrustedTopics((), lambda: stores.control.get("topics"), "sandbox")() == {SIMULATED}
    finally:
        stores.close()
