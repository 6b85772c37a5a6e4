"""Doing for many together, in a thread of its own, what would cost each as much by itself."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")

_END_PATIENCE = 3.0  # seconds


class Gatherer(Generic[T]):
    """One daemon thread that hands to `handle` what was offered, the first after a silence at once.

    What follows within `pause` seconds is handed over together, `most` at a time. An error of `handle` is logged, and
    what it had in hand is done with.
    """

    def __init__(self, name: str, handle: Callable[[list[T]], None], *, capacity: int, most: int, pause: float) -> None:
        self._name = name
        self._handle = handle
        self._capacity = capacity
        self._most = most
        self._pause = pause
        self._stopping = threading.Event()
        # The other kind of queue makes threads wait. None is the end.
        self._offered: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: T) -> bool:
        """Never waits. False when as many wait as may, and it was not taken."""
        if self._offered.qsize() >= self._capacity:
            return False
        self._offered.put(item)
        return True

    def finish(self) -> None:
        """Hand over here and now what is left where the thread is not there: it was ended, or stayed behind at a fork.

        For whoever may wait, and wants nothing lost: after each offer, and after the end.
        """
        while not self._thread.is_alive() and not self._offered.empty():
            self._hand_over(self._take(None)[0])

    def stop(self) -> None:
        """Hand over what waits, for a short time, and end the thread."""
        self._stopping.set()
        self._offered.put(None)
        self._thread.join(_END_PATIENCE)

    def _loop(self) -> None:
        while True:
            items, last = self._take(self._offered.get())
            self._hand_over(items)
            if last:
                return
            if len(items) < self._most:
                self._stopping.wait(self._pause)

    def _take(self, first: T | None) -> tuple[list[T], bool]:
        """It, and what is there; whether the end was asked for."""
        taken = [first]
        while len(taken) < self._most:
            try:
                taken.append(self._offered.get_nowait())
            except queue.Empty:
                break
        return [item for item in taken if item is not None], None in taken

    def _hand_over(self, items: list[T]) -> None:
        if not items:
            return
        try:
            self._handle(items)
        except Exception:
            # The thread must live on: who offers does not look after it.
            log.exception("gathering.failed", what=self._name, items=len(items))
