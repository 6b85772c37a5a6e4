"""Log lines of what went well, some at a time: one by one each is a system call, and code that is cold by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from gateway.gathering import Gatherer
from gateway.logs import Together

Fields: TypeAlias = Mapping[str, object]

_PAUSE = 0.02  # seconds; so late a line may be
_CAPACITY = 1000


class Lines:
    """Hands to `write` what came within `pause` seconds, from a thread of its own.

    No line is dropped: where more wait than `capacity`, or the thread is not there (any more), whoever adds one writes
    it, and waits for the log as long as it takes.
    """

    def __init__(
        self, write: Callable[[Sequence[Fields]], None], *, capacity: int = _CAPACITY, pause: float = _PAUSE
    ) -> None:
        self._write = write
        self._lines = Gatherer("lines", self._write_together, capacity=capacity, most=capacity, pause=pause)

    def add(self, fields: Fields) -> None:
        if self._lines.offer(fields):
            self._lines.finish()
        else:
            self._write((fields,))

    def stop(self) -> None:
        """Write what waits, for a short time, and end the thread."""
        self._lines.stop()
        self._lines.finish()

    def _write_together(self, some: Sequence[Fields]) -> None:
        with Together():
            self._write(some)
