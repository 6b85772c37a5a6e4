from __future__ import annotations

from tasks.clock import ClockWatch


def watched(*readings):
    """A watch, and the pairs (wall, steady) that it will read, the first at once."""
    walls, steadies = iter([wall for wall, _ in readings]), iter([steady for _, steady in readings])
    return ClockWatch(walls.__next__, steadies.__next__)


def test_a_clock_that_goes_along_has_not_jumped():
    watch = watched((1000, 0), (1010, 10), (1100, 100))
    assert [watch.jump(), watch.jump()] == [0, 0]


def test_a_jump_is_seen_once_and_with_its_sign():
    watch = watched((1000, 0), (4610, 10), (4620, 20), (1030, 30))
    assert [watch.jump(), watch.jump(), watch.jump()] == [3600, 0, -3600]


def test_small_steps_add_up():
    watch = watched((1000, 0), (1003, 0), (1006, 0), (1006, 0))
    assert [watch.jump(), watch.jump(), watch.jump()] == [0, 6, 0]
