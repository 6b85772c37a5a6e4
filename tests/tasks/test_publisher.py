from __future__ import annotations

import threading

import pytest

from gateway.dispatch import BrokerError
from tasks import publisher as module
from tasks.publisher import Parcel, Publisher
from tests.support.waiting import until


class Broker:
    """Its `publish` does what the test says."""

    def __init__(self):
        self.published, self.here = [], []
        self.error = None
        self.answer = threading.Event()
        self.answer.set()
        self.called = threading.Semaphore(0)

    def publish(self, ids):
        self.called.release()
        assert self.answer.wait(60)
        if self.error is not None:
            raise self.error
        self.published.append(ids)

    def parcel(self, *ids):
        return Parcel(list(ids), self.publish, self.here.append)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def publisher(broker, monkeypatch):
    monkeypatch.setattr(module, "_LEAVE_ALONE", 3600.0)
    made = Publisher()
    yield made
    broker.answer.set()
    made.stop()
    assert not made._thread.is_alive()


def test_parcels_are_published_in_their_order(broker, publisher):
    assert publisher.offer(broker.parcel(1))
    assert publisher.offer(broker.parcel(2, 3))
    until(lambda: broker.published == [[1], [2, 3]])
    assert broker.here == []


@pytest.mark.parametrize("error", [BrokerError("refused"), TypeError("unforeseen")])
def test_what_the_broker_does_not_take_is_done_here_and_the_broker_left_alone(broker, publisher, error):
    broker.error = error
    assert publisher.offer(broker.parcel(1))
    until(lambda: broker.here == [[1]])
    assert not publisher.offer(broker.parcel(2))
    assert broker.published == []


def test_what_was_queued_when_the_broker_went_away_is_done_here_without_another_try(broker, publisher):
    broker.answer.clear()
    for number in range(5):
        assert publisher.offer(broker.parcel(number))
    broker.error = BrokerError("away")
    broker.answer.set()
    until(lambda: len(broker.here) == 5)
    assert broker.called.acquire(timeout=1)
    assert not broker.called.acquire(blocking=False)


def test_after_the_pause_one_parcel_probes_and_the_rest_waits_for_its_outcome(broker, publisher, monkeypatch):
    monkeypatch.setattr(module, "_LEAVE_ALONE", 0.0)
    broker.error = BrokerError("away")
    publisher.offer(broker.parcel(1))
    until(lambda: broker.here == [[1]])
    broker.error = None
    broker.answer.clear()
    assert publisher.offer(broker.parcel(2))
    assert not publisher.offer(broker.parcel(3))
    broker.answer.set()
    until(lambda: broker.published == [[2]])
    until(lambda: not publisher._away_until)
    assert publisher.offer(broker.parcel(4))
    until(lambda: broker.published == [[2], [4]])


def test_a_probe_that_fails_is_followed_by_another_pause(broker, publisher, monkeypatch):
    monkeypatch.setattr(module, "_LEAVE_ALONE", 0.0)
    broker.error = BrokerError("away")
    publisher.offer(broker.parcel(1))
    until(lambda: broker.here == [[1]])
    monkeypatch.setattr(module, "_LEAVE_ALONE", 3600.0)
    assert publisher.offer(broker.parcel(2))
    until(lambda: broker.here == [[1], [2]])
    assert not publisher.offer(broker.parcel(3))


def test_a_broker_that_hangs_gets_nothing_more(broker, publisher, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    broker.answer.clear()
    assert publisher.offer(broker.parcel(1))
    assert broker.called.acquire(timeout=30)
    until(lambda: publisher._busy_since is not None)
    until(lambda: not publisher.offer(broker.parcel(2)))
    broker.answer.set()
    until(lambda: [1] in broker.published)
    until(lambda: publisher.offer(broker.parcel(3)))


def test_a_full_queue_refuses_without_waiting(broker, publisher, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 3600.0)
    broker.answer.clear()
    taken = 0
    while publisher.offer(broker.parcel(taken)):
        taken += 1
        assert taken < 1000
    assert taken >= 50
    broker.answer.set()
    until(lambda: len(broker.published) == taken)


def test_stopping_beside_a_broker_that_hangs_does_not_hang(broker, monkeypatch):
    publisher = Publisher()
    broker.answer.clear()
    publisher.offer(broker.parcel(1))
    assert broker.called.acquire(timeout=30)
    join = publisher._thread.join
    monkeypatch.setattr(publisher._thread, "join", lambda timeout: join(0.01))
    publisher.stop()
    assert publisher._thread.is_alive()
    broker.answer.set()
    join(30)
    assert not publisher._thread.is_alive()
