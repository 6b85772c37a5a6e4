"""How other threads answer the event loop: in bursts, each with one wake-up, and within a bounded time.

A future of asyncio for each answer, chained to that of the thread, and a time limit of its own for each would cost more
than most of the answers do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gateway.logs import Together

Call = Callable[[], object]


class WakeUps:
    """Runs on the event loop what other threads ask for, all that is there by then at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Call] = deque()
        self._is_asked = False

    def call(self, call: Call) -> None:
        """Have it called soon; from any thread. Calls are made in their order. Without the loop there are none."""
        self._calls.append(call)
        if not self._is_asked:
            self._is_asked = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        # First of all: what is appended from here on asks anew, or is seen below.
        self._is_asked = False
        with Together():
            for _ in range(len(self._calls)):
                self._call_next()

    def _call_next(self) -> None:
        try:
            self._calls.popleft()()
        except Exception as error:  # noqa: BLE001  the others of the burst are to have their answers
            context = {"message": "An answer of another thread could not be taken", "exception": error}
            self._loop.call_exception_handler(context)


class Patience:
    """Ends what has waited for too long, all with the same patience: one timer for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._waiting: deque[tuple[float, asyncio.Future[Any], Call]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, future: asyncio.Future[Any], give_up: Call) -> None:
        """Call `give_up` unless the future is done in time."""
        self._forget_done()
        self._waiting.append((self._loop.time() + self._seconds, future, give_up))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._forget_done()
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            _, future, give_up = self._waiting.popleft()
            if not future.done():
                give_up()
        self._forget_done()
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._look)

    def _forget_done(self) -> None:
        """From the front of the queue on, where most end first."""
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()
