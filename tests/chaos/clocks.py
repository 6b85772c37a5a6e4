"""Programs with wall clocks of their own, which a scenario sets while they run."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.chaos.scenario import Skipped
from tests.support.by_hand import ByHand

_SOURCE = Path(__file__).with_name("wall_clock.c")


def build_library(directory: Path) -> Path:
    """The library that fakes the clock of whatever it is preloaded into. Skipped where it cannot be made."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Skipped("there is no C compiler to make a faketime library with")
    library = directory / "wall_clock.so"
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode or not _works(library, directory):
        raise Skipped(f"a faketime library does not work on this machine: {made.stderr.strip()}")
    return library


def _works(library: Path, directory: Path) -> bool:
    clock = Clock(directory / "trial.clock")
    clock.set(timedelta(days=-1))
    asked = subprocess.run(
        [sys.executable, "-c", "import time; time.sleep(0.01); print(time.time())"],
        env=clock.environment(library),
        capture_output=True,
        text=True,
        check=False,
    )
    return not asked.returncode and abs(float(asked.stdout) + 86400 - datetime.now(UTC).timestamp()) < 60


class Clock:
    """The wall clock of one program: how far it is from the right time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(timedelta(0))

    def environment(self, library: Path) -> dict[str, str]:
        return {"LD_PRELOAD": str(library), "CHAOS_WALL_CLOCK": str(self._file)}

    def set(self, offset: timedelta) -> None:
        """At once, and in place: the programs have the file mapped."""
        with self._file.open("r+b" if self._file.exists() else "w+b", buffering=0) as file:
            file.write(struct.pack("=q", offset // timedelta(seconds=1)))


class ClockedByHand(ByHand):
    """Programs started by hand, each with a clock of its own in `clocks`."""

    def __init__(self, directory: Path, *arguments: Any, library: Path, **settings: Any) -> None:
        super().__init__(directory, *arguments, **settings)
        self._library = library
        self.clocks: dict[str, Clock] = {}

    def _start(
        self, name: str, argv: tuple[str, ...], is_ready: Callable[[], bool], what: str, **settings: str
    ) -> None:
        self.clocks[name] = Clock(self.directory / f"{name}.clock")
        super()._start(name, argv, is_ready, what, **settings, **self.clocks[name].environment(self._library))


def zone_with_summer(begins: datetime, ends: datetime) -> str:
    """A time zone (POSIX.1, TZ) at UTC whose summer time is one hour ahead between two moments of one day or two."""
    return f"WIN0SUM,{_rule(begins, begins)},{_rule(begins, ends + timedelta(hours=1))}"


def _rule(day: datetime, moment: datetime) -> str:
    """`moment` as a day of the year and the time since its beginning, which may be more than a day."""
    seconds = int((moment - day.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds())
    leap_day = day.year % 4 == 0 and day.month > 2
    return f"J{day.timetuple().tm_yday - leap_day}/{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
