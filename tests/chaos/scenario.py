"""What a scenario of the rig is: one claim about sesgate, with its pass line, the time it may take, and its figures.

    @scenario("25", title="Webhook reliability", passes="each event takes effect once", tiers={Tier.SHORT: 20})
    def row_25(run: Run) -> None:
        ...
        run.figure("events", 300)
        run.check(effects == 300, "each event took effect once")

The modules in `tests/chaos/rows` register themselves when they are imported; `load` imports them all.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

Figure = int | float | str


class Tier(StrEnum):
    """How much time there is: `make test`, `make chaos`, `make chaos-long`."""

    SHORT = "short"
    STANDARD = "standard"
    LONG = "long"


class Skipped(Exception):  # noqa: N818 - it says what happened, and is no error
    """This machine lacks what the scenario needs; the text says what."""


@dataclass
class Run:
    """One performance of a scenario: what it is given, and where it says what it saw."""

    tier: Tier
    seconds: int
    directory: Path
    stack: contextlib.ExitStack
    mutant: str | None = None
    say: Callable[[str], None] = print
    figures: dict[str, Figure] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    broken: bool = False

    def figure(self, name: str, value: Figure) -> None:
        """Keep a figure; it is stored with the result, whether the scenario passes or not."""
        self.figures[name] = round(value, 3) if isinstance(value, float) else value

    def check(self, condition: bool, sentence: str) -> None:
        """The scenario fails if the condition is false. It goes on: the other checks and figures tell more."""
        if not condition:
            self.failures.append(sentence)
            self.say(f"FAILED: {sentence}")


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    passes: str
    tiers: Mapping[Tier, int]
    play: Callable[[Run], None]


_scenarios: dict[str, Scenario] = {}


def scenario(
    name: str, *, title: str, passes: str, tiers: Mapping[Tier, int]
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register a function as a scenario. `tiers` says in which tiers it is run, and how many seconds it may take."""

    def register(play: Callable[[Run], None]) -> Callable[[Run], None]:
        if name in _scenarios:
            raise ValueError(f"there are two scenarios named {name}")
        _scenarios[name] = Scenario(name, title, passes, tiers, play)
        return play

    return register


def load() -> dict[str, Scenario]:
    """All scenarios by name: the numbered rows in their order, then the others."""
    rows = importlib.import_module("tests.chaos.rows")
    for module in pkgutil.iter_modules(rows.__path__):
        importlib.import_module(f"{rows.__name__}.{module.name}")
    return {name: _scenarios[name] for name in sorted(_scenarios, key=_order)}


def _order(name: str) -> tuple[int, str]:
    number = re.match(r"\d+", name)
    return (int(number.group()) if number else 1_000, name)
