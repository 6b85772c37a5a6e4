from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.store.control import CIRCUIT
from tasks.circuit import Circuit
from tasks.ses_errors import ErrorClass
from tests.support.mail import change, rows


@pytest.fixture
def circuit(stores):
    return Circuit(stores.control)


def events(lines):
    return [(line["event"], line["kind"], line["reason"]) for line in lines]


def until(stores):
    ((moment,),) = rows(stores, "SELECT until FROM control WHERE key = ?", CIRCUIT)
    return moment


def test_many_calls_that_are_refused_together_open_it_once_and_say_so_once(stores, circuit):
    began = time.monotonic()
    together = threading.Barrier(48)

    def refused(number):
        together.wait(20)
        circuit.open(ErrorClass.ACCOUNT, f"refusal {number}", began)

    with ThreadPoolExecutor(48) as pool, capture_logs() as lines:
        list(pool.map(refused, range(48)))
    assert [event for event, _, _ in events(lines)] == ["send.circuit_open"]
    assert stores.control.get(CIRCUIT)["kind"] == "account"


def test_each_refusal_lets_its_time_start_anew(stores, circuit):
    circuit.open(ErrorClass.ACCOUNT, "first", time.monotonic())
    change(stores, "UPDATE control SET until = until - 20000000 WHERE key = ?", CIRCUIT)
    before = until(stores)
    circuit.open(ErrorClass.ACCOUNT, "last", time.monotonic())
    assert until(stores) > before
    assert stores.control.get(CIRCUIT)["reason"] == "last"


def test_a_probe_that_is_refused_is_no_news(stores, circuit):
    with capture_logs() as lines:
        circuit.open(ErrorClass.ACCOUNT, "paused", time.monotonic())
        change(stores, "UPDATE control SET until = 0 WHERE key = ?", CIRCUIT)
        circuit.open(ErrorClass.ACCOUNT, "paused", time.monotonic())
    assert events(lines) == [("send.circuit_open", "account", "paused")]


def test_another_kind_of_trouble_is_news(stores, circuit):
    with capture_logs() as lines:
        circuit.open(ErrorClass.QUOTA, "used up", time.monotonic())
        change(stores, "UPDATE control SET until = 0 WHERE key = ?", CIRCUIT)
        circuit.open(ErrorClass.ACCOUNT, "paused", time.monotonic())
    assert events(lines) == [("send.circuit_open", "quota", "used up"), ("send.circuit_open", "account", "paused")]
    assert stores.control.get(CIRCUIT)["kind"] == "account"


def test_it_is_news_again_after_it_was_closed(stores, circuit):
    with capture_logs() as lines:
        circuit.open(ErrorClass.ACCOUNT, "paused", time.monotonic())
        stores.control.remove(CIRCUIT)
        circuit.open(ErrorClass.ACCOUNT, "paused", time.monotonic())
    assert len(events(lines)) == 2


def test_a_call_from_before_that_opens_it_again_is_news_too(stores, circuit):
    began = time.monotonic()
    with capture_logs() as lines:
        circuit.open(ErrorClass.ACCOUNT, "paused", began)
        stores.control.remove(CIRCUIT)
        circuit.closed()
        circuit.open(ErrorClass.ACCOUNT, "paused", began)
    assert [line["event"] for line in lines] == ["send.circuit_open", "send.circuit_closed", "send.circuit_open"]


def test_another_process_knows_that_it_is_open_already(stores, circuit):
    stores.control.put(CIRCUIT, {"reason": "paused", "at": 0.0, "kind": "account"}, lasting=timedelta(seconds=30))
    with capture_logs() as lines:
        circuit.open(ErrorClass.ACCOUNT, "paused", time.monotonic())
    assert lines == []
