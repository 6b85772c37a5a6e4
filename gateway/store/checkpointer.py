"""Moving SQLite's write-ahead log into the database file, in a thread of its own and never inside a commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import peewee

from gateway.logs import get_logger

log = get_logger(__name__)

CHECKPOINT_BYTES = 8 * 1024**2
LONG_LOG_BYTES = 32 * 1024**2
PAUSE = 1.0  # seconds


class Checkpointer:
    """`connection` gives the thread a connection for the length of a `with` block, and `gate` keeps writers out.

    A checkpoint that waits for nobody (PASSIVE) leaves behind what is written while it runs, and the log begins anew
    only after one that left nothing. Under steady load that never comes by itself, so once the log is long, the
    rest, which is small by then, is moved while the write gate is held.
    """

    def __init__(
        self,
        database: peewee.Database,
        path: Path,
        connection: Callable[[], AbstractContextManager[object]],
        gate: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._database = database
        self._log = path.with_name(path.name + "-wal")
        self._connection = connection
        self._gate = gate
        self._due = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def nudge(self) -> None:
        """Called after each commit; cheap when there is nothing to do."""
        if self._due.is_set():
            return
        with suppress(OSError):
            if self._log.stat().st_size < CHECKPOINT_BYTES:
                return
            if self._thread is None:
                thread = threading.Thread(target=self._loop, name="store-checkpointer", daemon=True)
                thread.start()
                self._thread = thread
            self._due.set()

    def close(self) -> None:
        self._closing.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _loop(self) -> None:
        while True:
            self._due.wait()
            if self._closing.is_set():
                return
            try:
                self._checkpoint()
            except (peewee.PeeweeException, OSError, ValueError) as error:
                log.warning("store.checkpoint_failed", error=str(error))
            # The log's file does not shrink when it starts anew, so its size alone would call for a checkpoint after
            # every commit.
            self._closing.wait(PAUSE)
            self._due.clear()
            if self._closing.is_set():
                return

    def _checkpoint(self) -> None:
        if self._move() >= LONG_LOG_BYTES:
            with self._gate():
                self._move()

    def _move(self) -> int:
        """Move what can be moved without waiting; how long the log is, in bytes.

        SQLite's own number of what was left counts nothing that was written while it moved.
        """
        with self._connection():
            _, frames, _ = self._database.execute_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            page_size = self._database.execute_sql("PRAGMA page_size").fetchone()[0]
        return max(0, int(frames)) * int(page_size)
