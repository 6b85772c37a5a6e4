from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import peewee
import pytest

from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.writer import Writer
from tests.support.busy_writer import hold_the_writer
from tests.support.mail import CONTENT, FACTS, accept, envelope, rows
from tests.support.stores import sqlite_stores
from tests.support.waiting import until

# What another process does with the write gate.
SQLITE_ONLY = True

_HOLDER = """
import fcntl, sys
gate = open(sys.argv[1], "r+")
fcntl.flock(gate, fcntl.LOCK_EX)
print("shut", flush=True)
sys.stdin.readline()
"""


@contextmanager
def gate_shut_by_another_process(directory):
    argv = [sys.executable, "-c", _HOLDER, str(directory / "sesgate.db-gate")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"shut\n"
        try:
            yield
        finally:
            process.stdin.close()


def count(stores, table="messages"):
    return rows(stores, f"SELECT count(*) FROM {table}")[0][0]


def test_nothing_is_seen_before_the_commit_and_everything_after_it(stores):
    held, go_on = hold_the_writer(stores)
    stored = stores.messages.submit(envelope("a@example.com", "b@example.com"), FACTS)
    assert not stored.done()
    assert count(stores) == 0
    go_on.set()
    held.result(timeout=30)
    ulid = stored.result(timeout=30)
    assert rows(stores, "SELECT ulid FROM messages") == [(ulid,)]
    assert rows(stores, "SELECT data FROM contents") == [(CONTENT,)]
    assert rows(stores, "SELECT address, status, attempts FROM recipients ORDER BY id") == [
        ("a@example.com", "QUEUED", 0),
        ("b@example.com", "QUEUED", 0),
    ]


def test_what_is_inside_a_transaction_is_seen_by_nobody_until_its_future_resolves(stores):
    seen = []
    inserted, looked = threading.Event(), threading.Event()

    def work(sql):
        sql.run("INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES ('x', '{}', '', 0, 0, 0)")
        inserted.set()
        assert looked.wait(30)

    future = stores.db.submit(work)
    assert inserted.wait(30)
    seen.append(stores.control.get("x"))
    looked.set()
    future.result(timeout=30)
    seen.append(stores.control.get("x"))
    assert seen == [None, {}]


def test_giving_up_at_a_shut_gate_means_surely_not_stored(stores, tmp_path):
    accept(stores)
    with gate_shut_by_another_process(tmp_path):
        stored = stores.messages.submit(envelope(), FACTS)
        kept = stores.messages.submit(envelope("kept@example.com"), FACTS)
        assert stored.cancel()
        assert count(stores) == 1
    kept.result(timeout=30)
    assert count(stores) == 2
    assert rows(stores, "SELECT count(*) FROM recipients WHERE address = 'kept@example.com'") == [(1,)]


def test_what_is_being_committed_cannot_be_given_up(stores):
    inside, go_on = threading.Event(), threading.Event()

    def work(sql):
        inside.set()
        assert go_on.wait(30)

    future = stores.db.submit(work)
    assert inside.wait(30)
    assert not future.cancel()
    go_on.set()
    assert future.result(timeout=30) is None


def test_waiting_for_a_shut_gate_ends_with_the_gate_timeout(tmp_path):
    stores = sqlite_stores(tmp_path, gate_timeout="50ms")
    accept(stores)
    with gate_shut_by_another_process(tmp_path), pytest.raises(StoreUnavailableError, match=r"busy for 0\.05 s"):
        stores.control.put("x", {})
    stores.db.submit(lambda sql: None).result(timeout=30)
    assert stores.control.get("x") is None
    stores.close()


def test_mail_that_was_given_up_is_not_kept_in_memory_until_the_gate_opens(stores, tmp_path):
    accept(stores)
    with gate_shut_by_another_process(tmp_path):
        stored = stores.messages.submit(envelope(), FACTS)
        assert stored.cancel()
        assert [work.piece for work in stores.db._writer._waiting if work is stored] in ([], [None])


def test_a_failing_work_takes_nobody_along(stores):
    held, go_on = hold_the_writer(stores)

    def fail(sql):
        sql.run("INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES ('half', '', '', 0, 0, 0)")
        raise LookupError("mine alone")

    before = stores.messages.submit(envelope(), FACTS)
    failing = stores.db.submit(fail)
    refused = stores.db.submit(lambda sql: sql.run("INSERT INTO control (key) VALUES (NULL)"))
    after = stores.messages.submit(envelope(), FACTS)
    go_on.set()
    held.result(timeout=30)
    assert before.result(timeout=30) != after.result(timeout=30)
    with pytest.raises(LookupError, match="mine alone"):
        failing.result(timeout=30)
    with pytest.raises(StoreError, match="refused the write"):
        refused.result(timeout=30)
    assert count(stores) == 2
    assert rows(stores, "SELECT 1 FROM control WHERE key = 'half'") == []


def test_a_full_disk_fails_everybody_and_is_over_when_there_is_room(stores):
    accept(stores)
    held, go_on = hold_the_writer(stores)
    full = stores.db.submit(lambda sql: sql.value(f"PRAGMA max_page_count = {sql.value('PRAGMA page_count')}"))
    first = stores.db.submit(lambda sql: sql.run("UPDATE control SET changed_at = changed_at"))
    large = stores.messages.submit(envelope(content=CONTENT + b"x" * 300_000), FACTS)
    last = stores.messages.submit(envelope(), FACTS)
    go_on.set()
    held.result(timeout=30)
    for future in (full, first, large, last):
        with pytest.raises(StoreUnavailableError, match="database or disk is full"):
            future.result(timeout=30)
    assert count(stores) == 1
    stores.control.put("room", {"again": True})
    accept(stores)
    assert count(stores) == 2


def test_what_waits_together_is_committed_together(stores):
    accept(stores)
    transactions = []
    original = stores.db._writer._transaction

    @contextmanager
    def counted():
        transactions.append(1)
        with original() as begin_anew:
            yield begin_anew

    stores.db._writer._transaction = counted
    held, go_on = hold_the_writer(stores)
    stored = [stores.messages.submit(envelope(), FACTS) for _ in range(200)]
    go_on.set()
    assert len({future.result(timeout=30) for future in stored}) == 200
    held.result(timeout=30)
    assert len(transactions) == 2


def test_commits_are_synced_to_the_disk(stores):
    pragmas = ("synchronous", "wal_autocheckpoint", "foreign_keys", "page_size", "auto_vacuum", "journal_mode")
    found = stores.db.write(lambda sql: [sql.value(f"PRAGMA {name}") for name in pragmas])
    assert found == [2, 0, 1, 8192, 2, "wal"]


def test_a_closed_database_refuses_further_work_in_the_future(tmp_path):
    stores = sqlite_stores(tmp_path)
    last = stores.messages.submit(envelope(), FACTS)
    stores.close()
    assert last.result(timeout=1)
    with pytest.raises(StoreUnavailableError, match="being closed"):
        stores.messages.submit(envelope(), FACTS).result(timeout=1)


def test_no_work_is_forgotten_between_two_commits_whoever_brings_it(stores):
    """The writer falls asleep and is roused all the time; a wake-up that is lost would leave the last one waiting."""

    def bring(number):
        return [stores.db.submit(lambda _, one=one: (number, one)).result(timeout=30) for one in range(300)]

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(bring, range(4)))
    assert outcomes == [[(number, one) for one in range(300)] for number in range(4)]


def test_what_comes_while_the_database_is_closed_is_done_or_refused(tmp_path):
    stores = sqlite_stores(tmp_path)
    held, go_on = hold_the_writer(stores)
    before = stores.db.submit(lambda _: "before")
    closing = threading.Thread(target=stores.close)
    closing.start()
    until(lambda: stores.db._writer._closing)
    meanwhile = stores.db.submit(lambda _: "meanwhile")
    go_on.set()
    closing.join(30)
    held.result(timeout=30)
    assert (before.result(timeout=30), meanwhile.result(timeout=30)) == ("before", "meanwhile")
    with pytest.raises(StoreUnavailableError):
        stores.db.submit(lambda _: None).result(timeout=30)


def test_more_readers_than_connections_are_told_to_come_later(stores):
    stores.db.peewee._max_connections = 1
    stores.db.peewee._wait_timeout = 0.01
    with stores.db.read():
        told = []

        def read():
            try:
                stores.control.get("x")
            except StoreUnavailableError as error:
                told.append(str(error))

        thread = threading.Thread(target=read)
        thread.start()
        thread.join(30)
    assert len(told) == 1
    assert stores.control.get("x") is None


class _NoTransactions:
    """A database whose every transaction ends as `endings` says."""

    for_update = False
    param = "?"

    def __init__(self, endings):
        self.endings = endings

    @contextmanager
    def __call__(self):
        yield lambda: None
        ending = self.endings.pop(0)
        if ending is not None:
            raise ending

    def cursor(self):
        return None


def test_a_failed_commit_fails_everybody_and_the_next_one_goes_on():
    double = _NoTransactions([peewee.OperationalError("disk I/O error"), None])
    writer = Writer(double, double, lambda: None)
    with pytest.raises(StoreUnavailableError, match="disk I/O error"):
        writer.submit(lambda sql: 1).result(timeout=30)
    assert writer.submit(lambda sql: 2).result(timeout=30) == 2
    writer.close()


def test_a_failure_after_the_commit_does_not_end_the_thread():
    double = _NoTransactions([None, None])

    def fail():
        raise RuntimeError("no more threads")

    writer = Writer(double, double, fail)
    assert writer.submit(lambda sql: 1).result(timeout=30) == 1
    assert writer.submit(lambda sql: 2).result(timeout=30) == 2
    writer.close()


def test_a_thread_that_could_not_be_started_is_started_at_the_next_work(monkeypatch):
    double = _NoTransactions([None])
    writer = Writer(double, double, lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _raise)
        with pytest.raises(RuntimeError):
            writer.submit(lambda sql: 1)
    assert writer.submit(lambda sql: 2).result(timeout=30) == 2
    writer.close()


def _raise(_thread):
    raise RuntimeError("can't start new thread")


def test_a_future_is_a_future(stores):
    assert isinstance(stores.messages.submit(envelope(), FACTS), Future)
    until(lambda: count(stores) == 1)


def test_a_group_that_another_was_in_the_way_of_is_done_again_in_transactions_of_single_pieces():
    double = _NoTransactions([None, peewee.OperationalError("deadlock detected"), None, None])
    writer = Writer(double, double, lambda: None, in_the_way=lambda error: "deadlock" in str(error))
    calls, inside, go_on = [], threading.Event(), threading.Event()

    def hold(sql):
        inside.set()
        assert go_on.wait(30)

    def run_all(sql, pieces):
        calls.append(list(pieces))
        return [piece * 10 for piece in pieces]

    held = writer.submit(hold)
    assert inside.wait(30)
    one, two = (writer.submit_to(run_all, piece) for piece in (1, 2))
    go_on.set()
    held.result(timeout=30)
    assert (one.result(timeout=30), two.result(timeout=30)) == (10, 20)
    assert calls == [[1, 2], [1], [2]]
    assert double.endings == []
    writer.close()
