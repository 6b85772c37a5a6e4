"""What SQLite leaves behind when the disk fails, and what we say of it."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import peewee
import pytest

from gateway.store.errors import NoSpaceError, OutcomeUnknownError, StoreUnavailableError
from tests.chaos.scenario import Skipped
from tests.chaos.syscalls import Strace, fail, need_strace, synced_again
from tests.support.mail import CONTENT, FACTS, accept, change, envelope, rows
from tests.support.stores import sqlite_stores

SQLITE_ONLY = True

# A program with stores of its own, that does one step for each line it reads.
_PROGRAM = """
import json, sys, threading
from pathlib import Path
from gateway.settings import Settings
from gateway.store.errors import StoreError
from gateway.store.stores import open_stores
from tests.support.mail import FACTS, envelope

stores = open_stores(Settings(data_dir=Path(sys.argv[1])))
print("ready", flush=True)
for line in sys.stdin:
    what, argument = json.loads(line)
    try:
        if what == "without voiding":
            stores.db._void = lambda: False
        if what != "checkpoint":
            stores.messages.submit(envelope(argument), FACTS).result(timeout=30)
        else:
            stores.db._checkpointer._checkpoint()
        answer = "done"
    except Exception as error:
        answer = type(error).__name__
    print(answer, flush=True)
stores.close()
"""


class Program:
    def __init__(self, directory: Path) -> None:
        argv = [sys.executable, "-c", _PROGRAM, str(directory)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.heard() == "ready"

    def heard(self) -> str:
        assert self.process.stdout is not None
        return next(line.strip() for line in self.process.stdout if " [" not in line)

    def do(self, what: str, argument: str = "") -> str:
        assert self.process.stdin is not None
        print(json.dumps([what, argument]), file=self.process.stdin, flush=True)
        return self.heard()

    def end(self, number: int | None = None) -> None:
        """By a signal, or as it ends by itself."""
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate(timeout=30)


@contextmanager
def program(directory: Path) -> Iterator[Program]:
    """Over a migrated database that no other process has open."""
    try:
        need_strace()
    except Skipped as reason:
        pytest.skip(str(reason))
    sqlite_stores(directory).close()
    running = Program(directory)
    assert running.do("store", "first@example.com") == "done"
    try:
        yield running
    finally:
        running.end(signal.SIGKILL)


def recovered(directory: Path) -> list[str]:
    """The addresses that the next program finds after all have been killed."""
    with closing(sqlite3.connect(directory / "sesgate.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in connection.execute("SELECT address FROM recipients ORDER BY id")]


def tampering(running: Program, tmp_path: Path, *expressions: str) -> Strace:
    calls = ("fdatasync", "fsync", "pwrite64", "close")
    return Strace(running.process.pid, tmp_path / "strace", *expressions, calls=calls)


def test_sqlite_recovers_a_transaction_whose_sync_failed_which_is_why_it_is_voided(tmp_path):
    """Should a release of SQLite change that, `_void` is needed no more."""
    copy = tmp_path / "copy"
    copy.mkdir()
    with program(tmp_path) as running, closing(sqlite3.connect(tmp_path / "sesgate.db")) as other:
        assert other.execute("SELECT count(*) FROM recipients").fetchone() == (1,)
        with tampering(running, tmp_path, fail("fdatasync", "EIO", "1")) as strace:
            assert running.do("without voiding", "unsynced@example.com") == "OutcomeUnknownError"
        assert strace.injections == 1
        assert other.execute("SELECT count(*) FROM recipients").fetchone() == (1,)
        for name in ("sesgate.db", "sesgate.db-wal"):
            shutil.copy(tmp_path / name, copy)
    assert recovered(copy) == ["first@example.com", "unsynced@example.com"]


def test_mail_whose_commit_could_not_be_synced_is_not_there_after_a_crash(tmp_path):
    with program(tmp_path) as running:
        with tampering(running, tmp_path, fail("fdatasync", "EIO", "1")) as strace:
            assert running.do("store", "unsynced@example.com") == "StoreUnavailableError"
        assert strace.injections == 1
        running.end(signal.SIGKILL)
        assert recovered(tmp_path) == ["first@example.com"]


def test_a_connection_whose_sync_failed_does_not_sync_again(tmp_path):
    with program(tmp_path) as running:
        with tampering(running, tmp_path, fail("fdatasync", "EIO", "1")) as strace:
            assert running.do("store", "unsynced@example.com") == "StoreUnavailableError"
            assert running.do("store", "second@example.com") == "done"
        assert strace.injections == 1
        assert synced_again(strace.calls()) == []
        running.end(signal.SIGKILL)
        assert recovered(tmp_path) == ["first@example.com", "second@example.com"]


def test_when_voiding_fails_too_the_outcome_is_said_to_be_unknown(tmp_path):
    with program(tmp_path) as running:
        with tampering(running, tmp_path, fail("fdatasync", "EIO", "1..2")) as strace:
            assert running.do("store", "unsynced@example.com") == "OutcomeUnknownError"
            assert running.do("store", "second@example.com") == "done"
        assert synced_again(strace.calls()) == []
        running.end(signal.SIGKILL)
        assert recovered(tmp_path) == ["first@example.com", "second@example.com"]


@pytest.mark.parametrize("write", ["1", "2", "3", "5"])
def test_a_write_without_room_says_so_and_leaves_nothing(tmp_path, write):
    with program(tmp_path) as running:
        with tampering(running, tmp_path, fail("pwrite64", "ENOSPC", write)) as strace:
            assert running.do("store", "nowhere@example.com") == "NoSpaceError"
        assert strace.injections == 1
        running.end(signal.SIGKILL)
        assert recovered(tmp_path) == ["first@example.com"]


@pytest.mark.parametrize("file", ["sesgate.db-wal", "sesgate.db"])
def test_a_checkpoint_that_could_not_be_synced_loses_nothing_of_the_log(tmp_path, file):
    with program(tmp_path) as running, closing(sqlite3.connect(tmp_path / "sesgate.db")) as other:
        other.execute("SELECT 1 FROM recipients").fetchall()
        log = (tmp_path / "sesgate.db-wal").read_bytes()
        with tampering(running, tmp_path, fail("fdatasync", "EIO", "1" if file.endswith("wal") else "2")) as strace:
            assert running.do("checkpoint") == "OperationalError"
            assert [call.path for call in strace.calls() if call.injected] == [str(tmp_path / file)]
            assert (tmp_path / "sesgate.db-wal").read_bytes() == log
            assert running.do("checkpoint") == "done"
        assert synced_again(strace.calls()) == []
        assert running.do("store", "second@example.com") == "done"
        running.end(signal.SIGKILL)
        assert recovered(tmp_path) == ["first@example.com", "second@example.com"]


def test_a_full_disk_is_told_from_a_busy_database(stores):
    accept(stores)
    change(stores, f"PRAGMA max_page_count = {rows(stores, 'PRAGMA page_count')[0][0]}")
    with pytest.raises(NoSpaceError, match="no room"):
        stores.messages.submit(envelope(content=CONTENT + b"x" * 300_000), FACTS).result(timeout=30)
    accept(stores)


def test_both_are_unavailable_to_whoever_asks_no_further():
    assert issubclass(NoSpaceError, StoreUnavailableError)
    assert issubclass(OutcomeUnknownError, StoreUnavailableError)


def test_nothing_is_written_to_temporary_files(stores):
    assert rows(stores, "PRAGMA temp_store") == [(2,)]


def test_a_connection_that_failed_is_closed_before_another_thread_could_take_it(stores, monkeypatch):
    still_ours = []
    discard = stores.db._discard

    def recorded(close):
        still_ours.append(not stores.db.peewee.is_closed())
        discard(close)

    monkeypatch.setattr(stores.db, "_discard", recorded)
    with pytest.raises(peewee.OperationalError), stores.db._connection():
        raise peewee.OperationalError("disk I/O error")
    assert still_ours == [True]
    assert stores.db.peewee.is_closed()
