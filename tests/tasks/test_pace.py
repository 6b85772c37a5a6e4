from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from tasks.pace import FEW, IDS_PER_TASK, SLOWEST, Slowdown, TokenBucket, Window, backoff, into_tasks, task_size


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
    [
        (0, []),
        (1, [1]),
        (FEW, [1] * FEW),
        (FEW + 1, [FEW + 1]),
        (IDS_PER_TASK, [IDS_PER_TASK]),
        (IDS_PER_TASK * 2 + 10, [IDS_PER_TASK, IDS_PER_TASK, 10]),
    ],
)
def test_a_task_has_one_id_when_there_are_few_and_many_under_load(count, sizes):
    tasks = into_tasks(range(count))
    assert [len(task) for task in tasks] == sizes
    assert [id_ for task in tasks for id_ in task] == list(range(count))


@pytest.mark.parametrize(("window", "ids"), [(1, 1), (16, 1), (320, 20), (1600, 100), (100_000, 200)])
def test_a_window_is_several_tasks_for_there_are_several_workers(window, ids):
    assert task_size(window) == ids


class Workers:
    """Claim `speed` marks a second in the order in which they were made; marks lapse after 5 s and are made anew."""

    def __init__(self, speed):
        self.speed, self.marks, self.claimed, self.lapsed, self.worst = speed, [], 0, 0, 0

    def tick(self, window, now, rate):
        oldest = now - self.marks[0] if self.marks else 0.0
        window.heed(oldest, 5.0, wanted=window.size < rate * 2, now=now)
        allowed = min(window.size, rate * 2)
        self.marks += [now] * (allowed - len(self.marks))
        self.worst = max(self.worst, len(self.marks))
        taken = int(self.speed * now) - int(self.speed * (now - 0.05))
        self.claimed += min(taken, len(self.marks))
        del self.marks[:taken]
        alive = [mark for mark in self.marks if now - mark < 5.0]
        self.lapsed += len(self.marks) - len(alive)
        self.marks = alive


def run(speed, rate, seconds):
    """The last third of it, when the window has found its size."""
    workers, window = Workers(speed), Window(0.0)
    for tick in range(1, seconds * 20):
        if tick == seconds * 20 * 2 // 3:
            workers.claimed = workers.lapsed = workers.worst = 0
        workers.tick(window, tick * 0.05, rate)
    return workers


@pytest.mark.parametrize("speed", [20, 32, 100, 700, 1400, 4000])
def test_workers_of_any_speed_always_have_work_and_little_of_it_lapses(speed):
    workers = run(speed, 5000, 90)
    assert workers.claimed >= speed * 29
    assert workers.lapsed <= workers.claimed * 0.01
    assert workers.worst <= speed * 5


def test_where_nobody_claims_little_is_marked():
    assert run(0, 5000, 60).worst <= 32


def test_workers_that_became_faster_are_given_more():
    workers, window = Workers(20), Window(0.0)
    for tick in range(1, 600):
        workers.tick(window, tick * 0.05, 5000)
    assert window.size <= 100
    workers.speed = 2000
    for tick in range(600, 900):
        workers.tick(window, tick * 0.05, 5000)
    assert window.size > 1000


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
