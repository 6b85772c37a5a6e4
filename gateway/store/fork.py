"""Forking beside SQLite: no child is born while a thread is inside it, and none inherits an open connection.

A fork copies SQLite's mutexes and its notes on the file locks of the process as they are at that moment. A child born
while another thread reads finds a mutex locked for ever, or believes to hold locks that are its parent's
(https://www.sqlite.org/howtocorrupt.html, section 2.6).
"""

from __future__ import annotations

import threading

_PATIENCE = 5.0  # seconds


class ForkGuard:
    """Who is inside SQLite: for the length of a `with` block. A fork waits for them to leave, and nobody enters then.

    A class and not a generator, since every read passes here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._forking = False

    def __enter__(self) -> None:
        with self._lock:
            while self._forking:
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._forking and not self._inside:
                self._changed.notify_all()

    def before_fork(self) -> bool:
        """Whether everybody has left. A fork is delayed, never refused: somebody may not leave for long."""
        with self._changed:
            while self._forking:  # another thread's
                self._changed.wait()
            self._forking = True
            return self._changed.wait_for(lambda: not self._inside, timeout=_PATIENCE)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()
