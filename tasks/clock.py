"""Watching the wall clock, by which everything in the database is timed, against the clock that never jumps."""

from __future__ import annotations

from collections.abc import Callable

# What NTP slews is far below it; what a person or a first synchronisation sets is far above.
_JUMP = 5.0  # seconds


class ClockWatch:
    """`wall` is in seconds since 1970, `steady` in seconds on a monotonic clock."""

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def jump(self) -> float:
        """How far the wall clock was set since the last look, in seconds: negative when it was set back, else 0."""
        offset = self._wall() - self._steady()
        jump = offset - self._offset
        if abs(jump) < _JUMP:
            return 0.0
        self._offset = offset
        return jump
