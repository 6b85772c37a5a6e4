"""The dispatcher's lease: one active dispatcher in the whole installation, a standby in every other worker.

No wall clock decides: a standby takes over when the row did not change for the lease's time on its own monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.logs import get_logger
from gateway.store.control import Control, Lease
from gateway.store.errors import StoreUnavailableError

log = get_logger(__name__)

_LOOK_EVERY = 0.25
_BEATS_PER_LEASE = 5


class Watch:
    """When a standby may take the lease over: decided from what it read, and when. Pure."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._seen: Lease | None = None
        self._since = 0.0

    def may_take(self, read: Lease, now: float) -> bool:
        if read != self._seen:
            self._seen, self._since = read, now
        return not read.holder or now - self._since >= self._lease_seconds


class LeaseKeeper:
    """Takes the lease when it is free, and beats while the holder's loop moves."""

    def __init__(self, control: Control, holder: str, lease_seconds: float, stopping: threading.Event) -> None:
        self._control = control
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._stopping = stopping

    def wait(self) -> Lease | None:
        """Stand by until the lease is ours; None when the worker stops first."""
        watch = Watch(self._lease_seconds)
        while not self._stopping.is_set():
            read = self._control.read_lease()
            if watch.may_take(read, time.monotonic()):
                taken = self._control.take_lease(self._holder, read)
                if taken is not None:
                    return taken
            self._stopping.wait(_LOOK_EVERY)
        return None

    @contextmanager
    def beating(self, lease: Lease, ticks: Callable[[], int]) -> Iterator[threading.Event]:
        """Beat in a thread of its own as long as `ticks` grows; the event is set once the lease is another's."""
        lost, done = threading.Event(), threading.Event()
        thread = threading.Thread(
            target=self._beat, args=(lease, ticks, lost, done), name="dispatcher-lease", daemon=True
        )
        thread.start()
        try:
            yield lost
        finally:
            done.set()
            thread.join(timeout=10)

    def _beat(self, lease: Lease, ticks: Callable[[], int], lost: threading.Event, done: threading.Event) -> None:
        last = -1
        while not done.wait(self._lease_seconds / _BEATS_PER_LEASE):
            current = ticks()
            if current == last:
                continue  # a loop that hangs loses its lease: another one shall dispatch
            last = current
            try:
                if not self._control.beat(lease):
                    lost.set()
                    return
            except StoreUnavailableError as error:
                log.warning("dispatcher.beat_failed", error=str(error))
