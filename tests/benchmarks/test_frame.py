"""Rounds, medians and bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Plan, Series, Shot, Stand, UnsoundError, measure

TIMES = Bar(Kind.TIMES_AT_LEAST, 1.5, 2.0)
FIGURE = Figure("path", "a path", "mails/s", TIMES, "a peer")


class Turns:
    """Notes whose turn it was, and gives the next of the values."""

    def __init__(self, **values: list[float]) -> None:
        self.order: list[str] = []
        self._values = {who: iter(some) for who, some in values.items()}
        self.ended = False

    def fire(self, who: str) -> Shot:
        self.order.append(who)
        return Shot(next(self._values[who]), {"noise": len(self.order)})

    @contextmanager
    def set_up(self, _stand: Stand) -> Iterator[Mapping[str, Pair]]:
        try:
            yield {"path": Pair(partial(self.fire, "ours"), partial(self.fire, "peer"))}
        finally:
            self.ended = True


def stand(tmp_path: Path, **plan: int) -> Stand:
    return Stand(tmp_path, Plan(**plan), lambda _text: None)


def test_rounds_are_in_turn_after_one_that_does_not_count(tmp_path: Path) -> None:
    turns = Turns(ours=[99, 2, 4, 6], peer=[1, 2, 2, 2])
    (series,) = measure(Measurement("path", (FIGURE,), turns.set_up), stand(tmp_path, rounds=3))
    assert turns.order == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert series.ours == [2, 4, 6]
    assert series.peers == [2, 2, 2]


def test_ratios_are_those_of_each_round_and_their_median_is_held_against_the_bar() -> None:
    series = Series(FIGURE, [10, 40, 30], [10, 10, 20])
    assert series.ratios == [1, 4, 1.5]
    assert series.found == 1.5
    assert TIMES.reached(TIMES.must, series.found) is True
    assert TIMES.reached(TIMES.goal, series.found) is False


def test_a_value_that_may_not_be_exceeded_needs_no_peer() -> None:
    bar = Bar(Kind.VALUE_AT_MOST, 64, None)
    series = Series(Figure("size", "a size", "B", bar), [60, 70, 50])
    assert series.found == 60
    assert bar.reached(bar.must, series.found) is True
    assert bar.reached(bar.goal, series.found) is None


def test_the_facts_of_both_sides_are_kept_as_medians(tmp_path: Path) -> None:
    turns = Turns(ours=[1, 1, 1, 1], peer=[1, 1, 1, 1])
    (series,) = measure(Measurement("path", (FIGURE,), turns.set_up), stand(tmp_path, rounds=3))
    assert set(series.facts) == {"noise", "peer: noise"}


def test_what_was_set_up_ends_when_a_round_fails(tmp_path: Path) -> None:
    turns = Turns(ours=[1, 1], peer=[1, 1])

    @contextmanager
    def set_up(where: Stand) -> Iterator[Mapping[str, Pair]]:
        with turns.set_up(where):
            yield {"path": Pair(_fail)}

    with pytest.raises(UnsoundError, match="half of it"):
        measure(Measurement("path", (FIGURE,), set_up), stand(tmp_path))
    assert turns.ended


def _fail() -> Shot:
    raise UnsoundError("half of it")
