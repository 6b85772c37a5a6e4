"""Log lines of what went well, some at a time: one by one they take a tenth of all that a notification costs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from gateway.logs import Together, get_logger

Fields: TypeAlias = Mapping[str, object]

_PAUSE = 0.02  # seconds; so late a line may be
_CAPACITY = 1000

log = get_logger(__name__)


class Lines:
    """One daemon thread that hands to `write` what came within `pause` seconds.

    No line is dropped: where more wait than `capacity`, or the thread is not there (any more), whoever adds one writes
    it, and waits for the log as long as it takes.
    """

    def __init__(
        self, write: Callable[[Sequence[Fields]], None], *, capacity: int = _CAPACITY, pause: float = _PAUSE
    ) -> None:
        self._write = write
        self._capacity = capacity
        self._pause = pause
        self._added: queue.SimpleQueue[Fields | None] = queue.SimpleQueue()  # the other kind makes threads wait
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lines", daemon=True)
        self._thread.start()

    def add(self, fields: Fields) -> None:
        if self._added.qsize() >= self._capacity:
            self._write((fields,))
            return
        self._added.put(fields)
        if not self._thread.is_alive():  # asked afterwards: it writes what was there before it ended
            self._write_rest()

    def stop(self) -> None:
        """Write what waits, for a short time, and end the thread."""
        self._stopping.set()
        self._added.put(None)
        self._thread.join(timeout=3)
        if not self._thread.is_alive():
            self._write_rest()

    def _write_rest(self) -> None:
        while True:
            try:
                fields = self._added.get_nowait()
            except queue.Empty:
                return
            if fields is not None:
                self._write_safely((fields,))

    def _loop(self) -> None:
        while True:
            some, last = self._take()
            if some:
                self._write_safely(some)
            if last:
                return
            self._stopping.wait(self._pause)

    def _take(self) -> tuple[list[Fields], bool]:
        """Wait for one, and take what came with it; whether the end was asked for."""
        taken = [self._added.get()]
        while not self._added.empty():
            taken.append(self._added.get_nowait())
        return [fields for fields in taken if fields is not None], None in taken

    def _write_safely(self, lines: Sequence[Fields]) -> None:
        try:
            with Together():
                self._write(lines)
        except Exception:
            # The thread must live on: who adds lines does not look after it.
            log.exception("lines.not_written", lines=len(lines))
