"""What all measurements share: rounds in turn with the peer, medians, and whether the bar is reached."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from benchmarks.machine import wait_for_calm


class SkippedError(Exception):
    """Something is measured on other machines only; the text says what is missing here."""


class UnsoundError(Exception):
    """What was measured did not do all of its work, so that its speed says nothing; the text says what was missing."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One timed run. `facts` are kept beside the value for whoever reads the result."""

    value: float
    facts: Mapping[str, float] = field(default_factory=dict)


Fire = Callable[[], Shot]


@dataclass(frozen=True, slots=True)
class Pair:
    """How to measure ours and, where there is one, the peer."""

    ours: Fire
    peer: Fire | None = None


class Kind(StrEnum):
    """What is held against the bar: how many times the peer's value ours is, or our value itself."""

    TIMES_AT_LEAST = "times at least"
    VALUE_AT_MOST = "value at most"


@dataclass(frozen=True, slots=True)
class Bar:
    """What must be reached and what is aimed at; None where nothing is asked."""

    kind: Kind
    must: float | None
    goal: float | None

    def reached(self, limit: float | None, found: float) -> bool | None:
        if limit is None:
            return None
        return found >= limit if self.kind is Kind.TIMES_AT_LEAST else found <= limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what is measured, in which unit, against whom, and the bar."""

    name: str
    title: str
    unit: str
    bar: Bar
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is to be done. `quick` is for tests and a first look: its figures say nothing."""

    rounds: int = 5
    quick: bool = False
    database: str = "sqlite"
    minutes: float = 10.0
    rows: int = 10_000_000
    rate: float = 5000.0  # recipients a second that the stub of SES allows, where it is not part of the measurement
    fronts: int = 1  # SMTP processes that share the port
    patience: float = 0.0  # seconds to wait before each round for other programs to be done


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a measurement stands: a directory that goes away at the end, the plan, and a way to tell of progress."""

    directory: Path
    plan: Plan
    say: Callable[[str], None]

    def amount(self, whole: int, quick: int) -> int:
        return quick if self.plan.quick else whole


@dataclass(frozen=True, slots=True)
class Measurement:
    """A path. `set_up` starts what it needs and gives a pair for each figure; at its end everything has ended.

    `rounds` where more than that would show nothing new.
    """

    name: str
    figures: tuple[Figure, ...]
    set_up: Callable[[Stand], AbstractContextManager[Mapping[str, Pair]]]
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """The values of all rounds for one figure; `peers` is empty where there is no peer.

    `disturbed` is the greatest share of the processors' time that other programs took right before a round.
    """

    figure: Figure
    ours: Sequence[float]
    peers: Sequence[float] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    disturbed: float = 0.0

    @property
    def ratios(self) -> list[float]:
        """Ours to the peer's of the same round."""
        return [ours / peer for ours, peer in zip(self.ours, self.peers, strict=False)]

    @property
    def found(self) -> float:
        """What is held against the bar."""
        judged = self.ratios if self.figure.bar.kind is Kind.TIMES_AT_LEAST else self.ours
        return statistics.median(judged)


def measure(measurement: Measurement, stand: Stand) -> list[Series]:
    """Set up, warm up with a round that is not counted, and do the rounds; whose turn is first changes each time.

    SkippedError and UnsoundError as the measurement raises them.
    """
    wanted = 1 if stand.plan.quick else stand.plan.rounds
    rounds = min(wanted, measurement.rounds or wanted)
    with measurement.set_up(stand) as pairs:
        if measurement.rounds is None and not stand.plan.quick:
            stand.say("warming up")
            for pair in pairs.values():
                _fire(pair, ours_first=True)
        return [_series(figure, pairs[figure.name], rounds, stand) for figure in measurement.figures]


def _series(figure: Figure, pair: Pair, rounds: int, stand: Stand) -> Series:
    shots: list[tuple[Shot, Shot | None]] = []
    busies: list[float] = []
    for number in range(rounds):
        busy = 0.0 if stand.plan.quick else wait_for_calm(stand.plan.patience)
        began = time.monotonic()
        shots.append(_fire(pair, ours_first=number % 2 == 0))
        stand.say(f"{figure.name}: round {number + 1} of {rounds}, {_told(figure, *shots[-1])}, {_since(began)}")
        busies.append(busy)
    return Series(
        figure,
        [ours.value for ours, _ in shots],
        [peer.value for _, peer in shots if peer is not None],
        _medians([ours.facts for ours, _ in shots], "") | _medians([peer.facts for _, peer in shots if peer], "peer: "),
        max(busies),
    )


def _fire(pair: Pair, *, ours_first: bool) -> tuple[Shot, Shot | None]:
    if pair.peer is None:
        return pair.ours(), None
    if ours_first:
        return pair.ours(), pair.peer()
    peer = pair.peer()
    return pair.ours(), peer


def _medians(facts: Sequence[Mapping[str, float]], prefix: str) -> dict[str, float]:
    names = dict.fromkeys(name for some in facts for name in some)
    return {prefix + name: statistics.median(some[name] for some in facts if name in some) for name in names}


def _told(figure: Figure, ours: Shot, peer: Shot | None) -> str:
    if peer is None:
        return f"{ours.value:,.1f} {figure.unit}"
    return f"{ours.value:,.0f} against {peer.value:,.0f} {figure.unit} (x {ours.value / peer.value:.2f})"


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
