"""What SNS or the queue brought last, noted for those who wonder whether anything arrives at all.

It is a courtesy: nothing waits for it, and a database that is away loses nothing but this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from gateway.logs import get_logger
from gateway.store.errors import StoreError
from gateway.store.heard import Record

_EVERY = 5.0  # seconds between two writes: strangers may knock as often as they like
_LONGEST_REASON = 300

log = get_logger(__name__)


class Seen(StrEnum):
    """A kind of thing that was seen; the last of each is kept."""

    NOTIFICATION = "notification"
    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not-confirmed"
    REFUSED = "refused"
    LATER = "later"
    UNSUBSCRIBED = "unsubscribed"


class Heard:
    """One daemon thread that hands the newest of each kind to `write`, at most once in `every` seconds."""

    def __init__(self, write: Callable[[Mapping[str, Record]], None], *, every: float = _EVERY) -> None:
        self._write = write
        self._every = every
        self._lock = threading.Lock()
        self._new: dict[str, Record] = {}
        self._something = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heard", daemon=True)
        self._thread.start()

    def note(self, kind: Seen, topic: str, reason: str) -> None:
        """Never waits for the database and never fails."""
        record = Record(datetime.now(UTC), topic, reason[:_LONGEST_REASON])
        with self._lock:
            self._new[kind.value] = record
            if not self._something.is_set():
                self._something.set()

    def stop(self) -> None:
        """End the thread; what it has not written yet is forgotten."""
        self._stopping.set()
        self._something.set()
        self._thread.join(timeout=1)

    def _loop(self) -> None:
        while True:
            self._something.wait()
            if self._stopping.is_set():
                return
            self._write_safely(self._take())
            self._stopping.wait(self._every)

    def _take(self) -> dict[str, Record]:
        with self._lock:
            self._something.clear()
            taken, self._new = self._new, {}
        return taken

    def _write_safely(self, records: Mapping[str, Record]) -> None:
        try:
            self._write(records)
        except StoreError as error:
            log.info("heard.not_noted", reason=str(error))
        except Exception:
            log.exception("heard.not_noted")
