from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from tasks.pace import FEW, IDS_PER_TASK, SLOWEST, Slowdown, TokenBucket, into_tasks
from tasks.sending import backoff


def test_a_bucket_starts_empty():
    assert TokenBucket(100.0).available(1000, 100.0) == 0


@pytest.mark.parametrize(("rate", "seconds", "tokens"), [(10, 0.1, 1), (100, 0.1, 10), (1, 0.5, 0), (1, 1.0, 1)])
def test_tokens_come_at_the_rate(rate, seconds, tokens):
    assert TokenBucket(0.0).available(rate, seconds) == tokens


@pytest.mark.parametrize(("rate", "burst"), [(1000, 500), (14, 7), (1, 1), (0.1, 1)])
def test_an_idle_bucket_holds_half_a_second_and_always_one(rate, burst):
    assert TokenBucket(0.0).available(rate, 1000.0) == burst


@pytest.mark.parametrize("rate", [1, 14, 200, 1000])
def test_over_ten_minutes_no_more_goes_out_than_the_rate_and_hardly_less(rate):
    bucket, sent, seconds = TokenBucket(0.0), 0, 600
    for tick in range(1, seconds * 20 + 1):
        tokens = bucket.available(rate, tick * 0.05)
        bucket.take(tokens)
        sent += tokens
    assert rate * seconds - 2 <= sent <= rate * seconds


def test_taken_tokens_are_gone():
    bucket = TokenBucket(0.0)
    assert bucket.available(100, 0.1) == 10
    bucket.take(4)
    assert bucket.available(100, 0.1) == 6


def test_a_clock_that_stands_or_goes_back_gives_nothing():
    bucket = TokenBucket(10.0)
    bucket.available(100, 10.5)
    assert bucket.available(100, 10.5) == 50
    assert bucket.available(100, 9.0) == 50


def test_throttling_halves_once_a_second_and_time_restores():
    full = Slowdown()
    assert full.current(0.0) == 1.0
    halved = full.throttled(100.0, 0.0)
    assert halved.current(0.0) == 0.5
    assert halved.throttled(100.5, 0.5) is halved
    assert halved.throttled(100.0, 5.0) is halved
    quartered = halved.throttled(101.0, 0.0)
    assert quartered.current(0.0) == 0.25
    assert quartered.current(10.0) == pytest.approx(0.35)
    assert quartered.current(1000.0) == 1.0


def test_throttling_never_stops_sending_altogether():
    slow = Slowdown()
    for second in range(100):
        slow = slow.throttled(100.0 + second * 2, 0.0)
    assert slow.current(0.0) == SLOWEST


def test_an_answer_from_before_the_take_over_is_not_heeded():
    fresh = Slowdown(seen=1000.0)
    assert fresh.throttled(1000.0, 0.0) is fresh
    assert fresh.throttled(1001.0, 0.0).current(0.0) == 0.5


def test_an_answer_after_the_clock_was_set_back_is_heeded():
    assert Slowdown(seen=10_000.0).throttled(2800.0, 0.0).current(0.0) == 0.5


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (FEW, [1] * FEW), (FEW + 1, [FEW + 1]), (IDS_PER_TASK, [IDS_PER_TASK]), (60, [25, 25, 10])],
)
def test_a_task_has_one_id_when_there_are_few_and_many_under_load(count, sizes):
    tasks = into_tasks(range(count))
    assert [len(task) for task in tasks] == sizes
    assert [id_ for task in tasks for id_ in task] == list(range(count))


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        (-1, 2),
        (0, 2),
        (1, 2),
        (2, 4),
        (3, 8),
        (4, 15),
        (5, 30),
        (6, 60),
        (7, 120),
        (8, 240),
        (9, 480),
        (10, 900),
        (11, 1800),
        (12, 3600),
        (99, 3600),
    ],
)
def test_the_wait_grows_with_the_attempts_up_to_an_hour(attempts, seconds):
    assert backoff(attempts, 0.0) == timedelta(seconds=seconds)
    assert backoff(attempts, 1.0) == timedelta(seconds=seconds * 1.2)
    assert backoff(attempts, -1.0) == timedelta(seconds=seconds * 0.8)


def test_the_waits_never_shrink():
    waits = [backoff(attempts, 0.0) for attempts in range(1, 20)]
    assert all(before <= later for before, later in pairwise(waits))
