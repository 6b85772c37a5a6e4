"""That a worker ends when it is asked to, also while its broker hangs.

Celery's handler of SIGTERM only sets a flag, which its main loop looks at between two events. With a broker that takes
connections and never answers, the loop stays inside its heartbeat and tries again for ever (Celery 5.7), so the flag is
not seen, and whoever waits for the worker kills it in the end.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.worker import state

from gateway.logs import get_logger

log = get_logger(__name__)

_LOOK_EVERY = 0.5
_PATIENCE = 5.0
# Celery uses it for nothing, and no default handler of Python's stands behind it.
_WAKE = signal.SIGALRM


class PromptStop(bootsteps.StartStopStep):
    """Takes the main loop out of a call to the broker, once it was asked to stop and does not come to it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        # What workers tell each other is nothing to us: the dispatcher is chosen in the database. Besides, the end of
        # gossip fails with an AttributeError when there is no connection to the broker.
        parent.options.update(without_gossip=True, without_mingle=True)
        self._stopping = threading.Event()

    def start(self, parent: Any) -> None:  # noqa: ARG002  the library's signature
        signal.signal(_WAKE, _end_loop)
        threading.Thread(target=self._watch, name="prompt-stop", daemon=True).start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        self._stopping.set()

    terminate = stop

    def _watch(self) -> None:
        """Look for the flag; from then on the loop has its time, again and again, until the stop has begun."""
        while not self._stopping.wait(_LOOK_EVERY):
            if _is_asked_to_stop() and not self._stopping.wait(_PATIENCE):
                log.warning("worker.stop_enforced", reason="the broker does not answer")
                signal.pthread_kill(_main_thread(), _WAKE)


def _is_asked_to_stop() -> bool:
    return state.should_stop is not None and state.should_stop is not False


def _main_thread() -> int:
    identity = threading.main_thread().ident
    assert identity is not None  # noqa: S101  it runs
    return identity


def _end_loop(*_: object) -> None:
    raise WorkerShutdown(state.should_stop or 0)
