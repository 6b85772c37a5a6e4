from __future__ import annotations

import threading
from itertools import pairwise

from gateway.store import checkpointer
from tests.support.stores import sqlite_stores
from tests.support.waiting import until

SQLITE_ONLY = True


def write_until(stores, check):
    """Steady writing: the log is never idle, and one PASSIVE checkpoint never moves all of it."""
    stop = threading.Event()

    def write():
        while not stop.is_set():
            stores.control.put("x", {"text": "x" * 100_000})

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        return until(check, seconds=60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_the_log_begins_anew_under_steady_writing(stores, monkeypatch):
    monkeypatch.setattr(checkpointer, "CHECKPOINT_BYTES", 200_000)
    monkeypatch.setattr(checkpointer, "LONG_LOG_BYTES", 1_000_000)
    monkeypatch.setattr(checkpointer, "PAUSE", 0.05)
    mover = stores.db._checkpointer
    lengths = []
    move = mover._move

    def observed():
        moved = move()
        lengths.append(moved)
        return moved

    mover._move = observed
    # The log's length in frames falls only when a writer has begun it anew.
    write_until(stores, lambda: sum(b < a for a, b in pairwise(lengths)) >= 3)
    assert max(lengths) < 50_000_000


def test_a_long_log_is_moved_behind_the_gate_and_a_short_one_is_not(stores, monkeypatch):
    mover = stores.db._checkpointer
    lengths, entered = iter([40_000_000, 8_000_000, 30_000_000]), []
    monkeypatch.setattr(mover, "_move", lambda: next(lengths))

    class Gate:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(mover, "_gate", Gate)
    mover._checkpoint()
    assert len(entered) == 1
    mover._checkpoint()
    assert len(entered) == 1


def test_no_checkpoint_is_done_by_the_commit_itself(stores, monkeypatch):
    nudged = []
    monkeypatch.setattr(stores.db._checkpointer, "_checkpoint", lambda: nudged.append(threading.current_thread().name))
    monkeypatch.setattr(checkpointer, "CHECKPOINT_BYTES", 1)
    stores.control.put("x", {"text": "x" * 100_000})
    until(lambda: nudged)
    assert set(nudged) == {"store-checkpointer"}


def test_closing_during_the_pause_does_not_wait_for_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpointer, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(checkpointer, "PAUSE", 3600.0)
    stores = sqlite_stores(tmp_path)
    done = []
    monkeypatch.setattr(stores.db._checkpointer, "_checkpoint", lambda: done.append(True))
    stores.control.put("x", {})
    until(lambda: done)
    stores.close()
    assert not stores.db._checkpointer._thread.is_alive()


def test_a_checkpoint_that_fails_is_tried_again(stores, monkeypatch):
    monkeypatch.setattr(checkpointer, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(checkpointer, "PAUSE", 0.0)
    tried = []

    def fail():
        tried.append(True)
        raise OSError("the gate is away")

    monkeypatch.setattr(stores.db._checkpointer, "_checkpoint", fail)

    def twice():
        stores.control.put("x", {})
        return len(tried) >= 2

    until(twice)
