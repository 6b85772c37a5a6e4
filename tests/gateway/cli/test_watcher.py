"""How long a child that ended is waited with."""

from __future__ import annotations

from gateway.cli.up.watcher import FIRST_DELAY, LONGEST_DELAY, LONGEST_DELAY_AFTER_SIGNAL, STEADY_AFTER, Backoff


def test_a_child_that_ran_steadily_comes_back_at_once() -> None:
    assert Backoff().delay_after(STEADY_AFTER) == 0.0


def test_each_quick_end_doubles_the_wait_up_to_a_limit() -> None:
    backoff = Backoff()
    delays = [backoff.delay_after(0.1) for _ in range(9)]
    assert delays[:4] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY]
    assert delays[-1] == LONGEST_DELAY


def test_a_child_that_is_killed_again_and_again_still_comes_back_soon() -> None:
    backoff = Backoff()
    assert max(backoff.delay_after(0.1, by_signal=True) for _ in range(9)) == LONGEST_DELAY_AFTER_SIGNAL


def test_steady_running_forgives_what_was_before() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_after(0.1)
    backoff.delay_after(STEADY_AFTER)
    assert backoff.delay_after(0.1) == FIRST_DELAY
