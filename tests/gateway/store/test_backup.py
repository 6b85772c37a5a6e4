from __future__ import annotations

import sqlite3
import stat
import threading

import pytest

from gateway.store.backup import back_up, sqlite_file
from gateway.store.errors import StoreError
from gateway.store.queue import Queue
from gateway.store.stores import open_stores
from tests.support.mail import accept, lease_of, mark, rows
from tests.support.stores import sqlite_settings

SQLITE_ONLY = True


def make(stores, target, progress=lambda _left, _total: None):
    return back_up(stores.db.path, target, actor="jane", progress=progress)


def opened(file):
    return open_stores(sqlite_settings(file.parent, database_url=f"sqlite:///{file}"))


def test_a_copy_has_the_mail_and_sends_nothing(stores, tmp_path):
    (recipient,) = accept(stores, "a@example.com")
    backup = make(stores, tmp_path / "copy.db")
    copy = opened(backup.file)
    try:
        assert copy.messages.list()[0].recipients[0].address == "a@example.com"
        assert copy.sending.mark_due(lease_of(copy), 10) == []
        mark(copy, recipient)
        assert copy.sending.claim(recipient) is None
        assert Queue(copy.db).find_pause().backup_at == backup.made_at
    finally:
        copy.close()
    assert Queue(stores.db).find_pause() is None


def test_a_copy_is_one_private_file_that_stays_in_wal_mode(stores, tmp_path):
    directory = tmp_path / "backups"
    directory.mkdir()
    backup = make(stores, directory / "copy.db")
    assert [file.name for file in directory.iterdir()] == ["copy.db"]
    assert stat.S_IMODE(backup.file.stat().st_mode) == 0o600
    connection = sqlite3.connect(backup.file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


def test_a_copy_is_of_one_moment_although_another_process_writes_all_the_time(stores, tmp_path):
    for _ in range(60):
        accept(stores, "a@example.com", content=b"From: a@b.example\r\n\r\n" + b"x" * 200_000)
    steps = []

    def interfere(left, total):
        """Between two steps of the copy somebody else accepts a mail."""
        steps.append((left, total))
        assert len(steps) < 1000, "the copy begins anew for ever"
        thread = threading.Thread(target=accept, args=(stores, "late@example.com"))
        thread.start()
        thread.join(timeout=30)

    backup = make(stores, tmp_path / "copy.db", interfere)
    assert len(steps) > 1
    copy = opened(backup.file)
    try:
        assert rows(copy, "SELECT count(*) FROM messages") == [(60,)]
        assert rows(copy, "SELECT count(*) FROM recipients") == [(60,)]
    finally:
        copy.close()
    assert rows(stores, "SELECT count(*) FROM messages")[0][0] > 60


def test_a_pause_that_stood_is_told_in_the_copy(stores, tmp_path):
    Queue(stores.db).pause("maintenance", actor="jane")
    copy = opened(make(stores, tmp_path / "copy.db").file)
    try:
        assert Queue(copy.db).find_pause().reason.endswith("; it was paused then: maintenance")
    finally:
        copy.close()


def test_nothing_is_overwritten(stores, tmp_path):
    target = tmp_path / "copy.db"
    target.write_bytes(b"precious")
    with pytest.raises(StoreError, match="exists already"):
        make(stores, target)
    assert target.read_bytes() == b"precious"


def test_a_backup_that_runs_keeps_a_second_one_out(stores, tmp_path):
    partial = tmp_path / "copy.db.partial"
    partial.write_bytes(b"")
    with pytest.raises(StoreError, match="another backup"):
        make(stores, tmp_path / "copy.db")
    assert partial.exists()
    assert not (tmp_path / "copy.db").exists()


def test_nothing_is_left_of_a_backup_that_was_interrupted(stores, tmp_path):
    directory = tmp_path / "backups"
    directory.mkdir()

    def interrupt(_left, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(stores, directory / "copy.db", interrupt)
    assert list(directory.iterdir()) == []


def test_a_damaged_database_is_not_passed_off_as_a_backup(stores, tmp_path):
    for _ in range(20):
        accept(stores, "a@example.com", content=b"From: a@b.example\r\n\r\n" + b"x" * 50_000)
    stores.close()
    damaged = bytearray(stores.db.path.read_bytes())
    damaged[8192 * 3 : 8192 * 6] = b"\xff" * (8192 * 3)
    stores.db.path.write_bytes(damaged)
    with pytest.raises(StoreError):
        make(stores, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_only_sqlite_has_a_file():
    assert sqlite_file("postgresql://db/sesgate") is None
    assert str(sqlite_file("sqlite:///var/lib/s.db")) == "/var/lib/s.db"
