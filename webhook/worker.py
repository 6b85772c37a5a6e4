"""gunicorn's threaded worker with an end to its patience.

gunicorn's own reads a request in one of its threads for as long as the client takes, so that a handful of clients that
never finish one keep everybody out, SNS included. (A reverse proxy in front that buffers requests prevents it too.)
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from gateway.garbage import spare_what_is_loaded
from gateway.one_cpu import stay_on_one_cpu

_LOOK_EVERY = 0.1  # seconds; gunicorn gives a worker 30 to say that it lives, and clients have 5


class DeadlineThreadWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Stops reading from a client whose request is not whole after `reading_seconds`.

    Only the receiving side is shut, so that an answer that takes longer is still sent. The main loop looks at the
    clock once a second, or more often while there is something to do.
    """

    reading_seconds = 5.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reading: dict[Any, float] = {}
        self._notified_at = float("-inf")

    def init_process(self) -> None:
        """Called in the worker's own process, where it serves until it ends."""
        stay_on_one_cpu()
        super().init_process()

    def run(self) -> None:
        """Called when the application is loaded; returns when the worker is to end."""
        spare_what_is_loaded()
        super().run()

    def handle(self, conn: Any) -> Any:
        """Serve one request, in a thread of the pool."""
        self._reading[conn] = time.monotonic() + self.reading_seconds
        try:
            return super().handle(conn)
        finally:
            self._reading.pop(conn, None)

    def notify(self) -> None:
        """Called by the main loop each time around, which may be thousands of times a second."""
        now = time.monotonic()
        if now - self._notified_at < _LOOK_EVERY:
            return
        self._notified_at = now
        super().notify()
        for conn, deadline in list(self._reading.items()):
            if now > deadline:
                self._reading.pop(conn, None)
                with suppress(OSError):  # it has just been closed
                    conn.sock.shutdown(socket.SHUT_RD)
