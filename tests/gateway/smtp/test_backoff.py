from __future__ import annotations

import pytest

from gateway.smtp.backoff import BackOff

HERE = ("client", "192.0.2.7")
NAME = ("name", "shop")


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def back_off(now):
    return BackOff(lambda: now[0])


def test_each_failure_doubles_the_delay_up_to_some_seconds(back_off):
    delays = []
    for _ in range(7):
        delays.append(back_off.delay(HERE))
        back_off.failed(HERE)
    assert delays == [0, 0.5, 1, 2, 4, 5, 5]


def test_the_worse_of_the_keys_counts(back_off):
    back_off.failed(HERE, NAME)
    back_off.failed(NAME)
    assert back_off.delay(HERE, NAME) == 1
    assert back_off.delay(HERE) == 0.5


def test_success_is_a_new_start(back_off):
    back_off.failed(HERE, NAME)
    back_off.succeeded(HERE, NAME)
    assert back_off.delay(HERE, NAME) == 0


def test_failures_are_forgotten_in_time(back_off, now):
    back_off.failed(HERE)
    now[0] += 899
    assert back_off.delay(HERE) == 0.5
    now[0] += 1
    assert back_off.delay(HERE) == 0
    back_off.failed(HERE)
    assert back_off.delay(HERE) == 0.5


def test_who_is_never_slowed_has_no_keys(back_off):
    back_off.failed()
    assert back_off.delay() == 0


def test_the_memory_for_it_is_bounded(back_off):
    back_off.failed(HERE)
    for number in range(20_000):
        back_off.failed(("name", str(number)))
    assert len(back_off._failures) == 10_000
    assert back_off.delay(HERE) == 0
    assert back_off.delay(("name", "19999")) == 0.5
