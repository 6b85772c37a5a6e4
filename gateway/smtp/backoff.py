"""Patience with whoever tries secrets: each failure makes the next answer slower. In bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_FIRST = 0.5  # seconds
_LONGEST = 5.0  # seconds; an application whose name somebody else tries waits no longer than this
_REMEMBERED = 900.0  # seconds
_AT_MOST = 10_000  # keys


class BackOff:
    """Failures by key; a key is a client's address, or the user name that was tried."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def delay(self, *keys: tuple[str, str]) -> float:
        """Seconds to wait before looking at what a client says; the longest that one of the keys has come to."""
        failures = max(map(self._lately, keys), default=0)
        return min(_FIRST * 2 ** min(failures - 1, 10), _LONGEST) if failures else 0.0

    def failed(self, *keys: tuple[str, str]) -> None:
        for key in keys:
            self._failures[key] = self._lately(key) + 1, self._clock()
            self._failures.move_to_end(key)
        while len(self._failures) > _AT_MOST:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: tuple[str, str]) -> None:
        for key in keys:
            self._failures.pop(key, None)

    def _lately(self, key: tuple[str, str]) -> int:
        failures, at = self._failures.get(key, (0, 0.0))
        return failures if self._clock() - at < _REMEMBERED else 0
