"""What is known of the account's identities, for those who ask with every mail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from gateway.logs import get_logger
from gateway.preflight import Identities, known_identities
from gateway.store.control import IDENTITIES, Control
from gateway.store.db import Database
from gateway.store.errors import StoreUnavailableError
from gateway.store.schema import Stamp, read_stamp

log = get_logger(__name__)

_READ_EVERY = 5.0  # seconds; with the minute between two lists a new identity is known well within two


class KnownIdentities:
    """The fact of the control store, read anew every few seconds. Safe from many threads."""

    def __init__(
        self,
        db: Database,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._control = Control(db)
        self._wall = wall
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._fact: dict[str, Any] | None = None
        self._known: Identities | None = None
        self._read_again_at = float("-inf")

    @property
    def is_fresh(self) -> bool:
        """Whether `last` is what `get` would answer."""
        return self._clock() < self._read_again_at

    @property
    def last(self) -> Identities | None:
        """What `get` answered last; never blocks."""
        return self._known

    def get(self) -> Identities | None:
        """None when nothing is known to refuse a mail by. What was known goes on until it is stale."""
        with self._lock:
            if not self.is_fresh:
                self._read()
                self._read_again_at = self._clock() + _READ_EVERY
            return self._known

    def _read(self) -> None:
        try:
            self._stamp = self._stamp or read_stamp(self._db)
            self._fact = self._control.get(IDENTITIES)
        except StoreUnavailableError as error:
            log.warning("identities.not_read", error=str(error))
        self._known = known_identities(self._fact, is_simulated=self._stamp == "sandbox", now=self._wall())
