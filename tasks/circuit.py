"""The circuit: SES takes no mail from this account, so none is offered to it but a probe now and then.

It is one fact in the control store, and stops every claim in the installation while its time runs. After that it is
half-open: the dispatcher lets one mail through. If SES takes it, the store removes the fact; if not, its time starts
anew from that refusal.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from gateway.logs import get_logger
from gateway.store.control import CIRCUIT, Control
from tasks.ses_errors import ErrorClass

log = get_logger(__name__)

# A cause that somebody has removed is noticed within a minute. A rolling quota gives capacity back bit by bit, and
# housekeeping half-opens the circuit sooner when the account shows some.
PROBE_EVERY = {ErrorClass.ACCOUNT: timedelta(seconds=30), ErrorClass.QUOTA: timedelta(minutes=10)}


class Circuit:
    """Opens the circuit and tells in the log: once, however many calls in flight are refused together."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._told_at = float("-inf")

    def open(self, error_class: ErrorClass, reason: str, began: float) -> None:
        """Stop sending from now on for the time of that class; `began`: when the refused call did (monotonic)."""
        before = self._control.get(CIRCUIT)
        wait = PROBE_EVERY[error_class]
        again = before is not None and before.get("kind") == error_class
        now = time.time()
        since = before.get("since", now) if before is not None and again else now
        fact = {"reason": reason, "at": now, "since": since, "kind": error_class.value}
        self._control.put(CIRCUIT, fact, lasting=wait)
        if not again and self._is_news(began):
            log.error("send.circuit_open", reason=reason, kind=error_class.value, probe_in=wait.total_seconds())

    def closed(self) -> None:
        """The store has closed it: a probe was accepted."""
        with self._lock:
            self._told_at = float("-inf")  # a call that still hangs may open it again, and that is news
        log.warning("send.circuit_closed", meaning="SES takes mail again")

    def _is_news(self, began: float) -> bool:
        """Whether the call began after the last opening was told. No call begins while the circuit is open."""
        with self._lock:
            news = began > self._told_at
            if news:
                self._told_at = time.monotonic()
            return news
