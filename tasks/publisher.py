"""Publishing from a thread of its own, so that a broker that is away or hangs never stops the dispatcher."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.dispatch import BrokerError
from gateway.logs import get_logger

log = get_logger(__name__)

_LEAVE_ALONE = 5.0
_PATIENCE = 1.0
_CAPACITY = 50


@dataclass(frozen=True, slots=True)
class Parcel:
    """Ids for one task, the function that publishes it, and the one that does the same work here."""

    ids: list[int]
    publish: Callable[[list[int]], None]
    run_here: Callable[[list[int]], None]


class Publisher:
    """Takes parcels while the broker answers. After a failure it leaves the broker alone for a while, then probes."""

    def __init__(self) -> None:
        self._parcels: queue.Queue[Parcel | None] = queue.Queue(_CAPACITY)
        self._away_until = 0.0
        self._probing = False
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._loop, name="dispatcher-publisher", daemon=True)
        self._thread.start()

    def offer(self, parcel: Parcel) -> bool:
        """Have a parcel published; False when the broker is away, and its work is to be done here."""
        now = time.monotonic()
        busy_since = self._busy_since
        if now < self._away_until or self._probing or (busy_since is not None and now - busy_since > _PATIENCE):
            return False
        self._probing = self._away_until > 0
        try:
            self._parcels.put_nowait(parcel)
        except queue.Full:
            self._probing = False
            return False
        return True

    def stop(self) -> None:
        try:
            self._parcels.put_nowait(None)
        except queue.Full:
            return  # a daemon thread; what it holds is marked anew by the next dispatcher
        self._thread.join(timeout=3)

    def _loop(self) -> None:
        while (parcel := self._parcels.get()) is not None:
            if time.monotonic() < self._away_until:
                self._probing = False  # it was taken while the broker went away, and probed nothing
                parcel.run_here(parcel.ids)
            elif not self._publish(parcel):
                parcel.run_here(parcel.ids)

    def _publish(self, parcel: Parcel) -> bool:
        self._busy_since = time.monotonic()
        try:
            parcel.publish(parcel.ids)
        except BrokerError as error:
            self._went_away(error)
            return False
        except Exception:
            # An unforeseen failure of the broker's library must not end the thread: the work is done here.
            log.exception("dispatcher.publish_failed")
            self._went_away(None)
            return False
        finally:
            self._busy_since = None
        self._came_back()
        return True

    def _went_away(self, error: BrokerError | None) -> None:
        if not self._away_until:
            log.warning(
                "dispatcher.broker_away", error=str(error or ""), doing="the workers' dispatcher sends by itself"
            )
        self._away_until = time.monotonic() + _LEAVE_ALONE
        self._probing = False

    def _came_back(self) -> None:
        if self._away_until:
            log.info("dispatcher.broker_back")
        self._away_until = 0.0
        self._probing = False
