"""The write gate: one writer of the SQLite file at a time, across threads and processes.

SQLite's own busy handler polls and starves whoever commits often; a lock that the kernel queues does not. The gate is
a flock on a file beside the database. It is released by LOCK_UN and not only by closing: a child forked while
the lock was held would share it and keep it shut.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WriteGate:
    """Enter it around every write transaction. Not reentrant."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._turn, self._inside = threading.Lock(), threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the gate, and hold it. The wait has no end: whoever waits for a result has the time-out."""
        # Whoever waits for its turn has it before the thread that was inside just now: a lock alone is not fair, and
        # the writer, which comes back at once, would keep everybody else of its process out.
        with self._turn:
            self._inside.acquire()
        try:
            descriptor = self._open()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._inside.release()

    def after_fork_in_child(self) -> None:
        """The inherited descriptor shares the parent's lock: let go of it, and start anew."""
        self.close()
        self._turn, self._inside = threading.Lock(), threading.Lock()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor
