from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import structlog

from tests.support.sns import TOPIC_ARN
from tests.support.waiting import until
from tests.webhook.support import SIGNER, Webhook
from webhook.inbox import log_taken
from webhook.lines import Lines


@contextmanager
def lines(write, **how):
    made = Lines(write, **how)
    try:
        yield made
    finally:
        made.stop()


def test_what_came_meanwhile_is_written_together_by_another_thread():
    written, threads = [], set()

    def write(some):
        written.append(list(some))
        threads.add(threading.current_thread())

    with lines(write, pause=3600) as made:
        made.add({"n": 1})
        until(lambda: written)
        made.add({"n": 2})
        made.add({"n": 3})
    assert written == [[{"n": 1}], [{"n": 2}, {"n": 3}]]
    assert threading.current_thread() not in threads


def test_no_line_is_dropped_when_the_log_is_slower_than_what_is_to_be_logged():
    go_on, written = threading.Event(), []

    def write(some):
        if threading.current_thread() is not main:
            assert go_on.wait(30)
        written.extend(some)

    main = threading.current_thread()
    with lines(write, capacity=3) as made:
        for n in range(10):
            made.add({"n": n})
        assert len(written) >= 6  # by this thread; one may be in the other's hand, and three wait
        go_on.set()
    assert sorted(line["n"] for line in written) == list(range(10))


def test_what_comes_after_the_end_is_written_at_once():
    written = []
    made = Lines(written.extend)
    made.add({"n": 1})
    made.stop()
    assert not made._lines._thread.is_alive()
    made.add({"n": 2})
    assert written == [{"n": 1}, {"n": 2}]


def test_what_came_while_the_thread_ended_is_written_by_whoever_stops_it():
    written = []
    made = Lines(written.extend)
    made._lines._offered.put(None)  # the thread ends
    made._lines._thread.join(30)
    made._lines._offered.put({"n": 1})  # by a request that found it alive
    made.stop()
    assert written == [{"n": 1}]


def test_a_write_that_fails_does_not_end_the_thread():
    written = []

    def write(some):
        if some[0]["n"] == 1:
            raise ValueError("unforeseen")
        written.extend(some)

    with lines(write) as made:
        made.add({"n": 1})
        until(made._lines._offered.empty)
        made.add({"n": 2})
        until(lambda: written == [{"n": 2}])


@pytest.mark.parametrize("times", [1, 2])
def test_each_notification_that_is_taken_has_a_line(times):
    told, body = [], SIGNER.notification("x")
    webhook = Webhook(tell=told.append)
    for _ in range(times):
        webhook.post(body)
    with structlog.testing.capture_logs() as logged:
        log_taken(told)
    assert [(line["event"], line["known"]) for line in logged] == [
        ("sns.notification", known) for known in (False, True)[:times]
    ]
    assert {line["topic"] for line in logged} == {TOPIC_ARN}
