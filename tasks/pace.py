"""How fast to send: a bucket of tokens, the account's rate slowed down by what SES answers, and waits between tries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

# A burst is what half a second allows, and always one: SES tolerates short bursts, not long ones.
BURST_SECONDS = 0.5
SLOWEST = 1 / 64
RECOVERY_PER_SECOND = 0.01
FEW = 4
IDS_PER_TASK = 200  # a task costs Redis and the worker as much as some tens of ids

FIRST_WINDOW = 1200
_LEAST_WINDOW = 16
_SHARES = 16  # a window is at least so many tasks, for there are several workers
_FRESH, _STALE = 0.2, 0.5  # of the time after which a mark lapses

_WAITS = tuple(timedelta(seconds=seconds) for seconds in (2, 4, 8, 15, 30, 60, 120, 240, 480, 900, 1800, 3600))
LONGEST_WAIT = _WAITS[-1]
_JITTER = 0.2
_THROTTLED_WAIT = timedelta(seconds=2)
_THROTTLED_JITTER = 0.5


class TokenBucket:
    """Tokens at `rate` a second. It starts empty: after a take-over nobody knows what was spent just before.

    The caller passes the time, in seconds on a clock that never jumps.
    """

    def __init__(self, now: float) -> None:
        self._tokens = 0.0
        self._filled_at = now

    def available(self, rate: float, now: float) -> int:
        capacity = max(1.0, rate * BURST_SECONDS)
        self._tokens = min(capacity, self._tokens + rate * max(0.0, now - self._filled_at))
        self._filled_at = now
        return int(self._tokens)

    def take(self, tokens: int) -> None:
        self._tokens -= tokens


@dataclass(frozen=True, slots=True)
class Slowdown:
    """The part of the account's rate that is used. Throttling halves it, time restores it (1 % a second)."""

    factor: float = 1.0
    since: float = 0.0
    seen: float = 0.0  # the throttling answer that was heeded last, in seconds since 1970

    def current(self, now: float) -> float:
        return min(1.0, self.factor + RECOVERY_PER_SECOND * max(0.0, now - self.since))

    def throttled(self, answered_at: float, now: float) -> Slowdown:
        """Heed a throttling answer, once a second at most: the calls in flight are all refused together."""
        if abs(answered_at - self.seen) < 1:  # and not `less than`: the clock may have been set back
            return self
        return Slowdown(max(SLOWEST, self.current(now) / 2), now, answered_at)


class Window:
    """How many recipients may be marked and unclaimed: as many as the workers claim before a mark lapses.

    What lapses was marked and published for nothing. So the window follows how long the marks wait: it is doubled when
    all of it was claimed while the marks were young, and halved when the oldest is half as old as it may get.
    """

    def __init__(self, now: float) -> None:
        self.size = FIRST_WINDOW
        self._changed_at = now
        self._was_wanted = False
        self._full_at: float | None = None

    def heed(self, oldest: float, lapse: float, *, wanted: bool, now: float) -> None:
        """`oldest`: seconds since the oldest unclaimed mark; `wanted`: more would have been marked with more room."""
        if oldest > lapse * _STALE and now - self._changed_at > lapse * _FRESH:
            self._change(max(_LEAST_WINDOW, self.size // 2), now)
        elif not (wanted and self._was_wanted):
            self._full_at = None
        elif self._full_at is None:
            self._full_at = now  # it was filled at the last look
        elif oldest < lapse * _FRESH and now - oldest > self._full_at:
            self._change(self.size * 2, now)
        self._was_wanted = wanted

    def _change(self, size: int, now: float) -> None:
        self.size = size
        self._changed_at = now
        self._full_at = None


def task_size(window: int) -> int:
    """The most ids that a task has where so many recipients may be on their way."""
    return max(1, min(IDS_PER_TASK, window // _SHARES))


def into_tasks(ids: Sequence[int], most: int = IDS_PER_TASK) -> list[list[int]]:
    """One id a task when there are few, so that Flower stays readable; many under load, where tasks cost most."""
    size = 1 if len(ids) <= FEW else most
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def backoff(attempts: int, jitter: float) -> timedelta:
    """How long to wait after the attempt with that number (from 1); `jitter` is in -1..1 and moves it by a fifth."""
    return _WAITS[min(max(attempts, 1), len(_WAITS)) - 1] * (1 + _JITTER * jitter)


def throttled_wait(jitter: float) -> timedelta:
    """How long a mail waits that came too fast; the dispatcher slows down meanwhile. `jitter` is in -1..1."""
    return _THROTTLED_WAIT * (1 + _THROTTLED_JITTER * jitter)
