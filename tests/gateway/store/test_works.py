"""Work that shares a transaction, on both databases: together, and each for itself when one of them fails."""

from __future__ import annotations

import threading

import peewee
import pytest

from gateway.credentials import Caps
from gateway.store.errors import NotEnabledError, OverCapError, StoreError, StoreUnavailableError
from gateway.store.works import Work
from tests.support.mail import FACTS, envelope, rows

_INSERT = "INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES (?, '{}', '', 0, 0, 0)"


class Standing:
    """The writer's thread stands inside a transaction for the length of the block: what is submitted is one group."""

    def __init__(self, stores):
        self.stores = stores
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __enter__(self):
        def work(sql):
            self.inside.set()
            assert self.go_on.wait(30)

        self.held = self.stores.db.submit(work)
        assert self.inside.wait(30)

    def __exit__(self, *_):
        self.go_on.set()
        self.held.result(timeout=30)


def keys(stores):
    return [
        key for (key,) in rows(stores, "SELECT key FROM control WHERE value = '{}' AND key <> 'stamp' ORDER BY key")
    ]


def put(sql, pieces):
    sql.many(_INSERT, [(piece,) for piece in pieces])
    return [piece.upper() for piece in pieces]


def test_pieces_of_one_kind_that_wait_together_are_one_call(stores):
    calls = []

    def put_all(sql, pieces):
        calls.append(list(pieces))
        return put(sql, pieces)

    with Standing(stores):
        futures = [stores.db.submit_to(put_all, piece) for piece in "ab"]
        between = stores.db.submit(lambda sql: sql.value("SELECT count(*) FROM control WHERE key IN ('a', 'b', 'c')"))
        futures.append(stores.db.submit_to(put_all, "c"))
    assert [future.result(timeout=30) for future in futures] == ["A", "B", "C"]
    assert between.result(timeout=30) == 3
    assert calls == [["a", "b", "c"]]
    assert keys(stores) == ["a", "b", "c"]


def test_methods_of_one_object_are_one_kind_and_those_of_two_are_not(stores):
    class Putting:
        def __init__(self):
            self.calls = []

        def put_all(self, sql, pieces):
            self.calls.append(list(pieces))
            return put(sql, pieces)

    one, other = Putting(), Putting()
    with Standing(stores):
        futures = [
            stores.db.submit_to(putting.put_all, piece) for putting, piece in ((one, "a"), (other, "b"), (one, "c"))
        ]
    assert [future.result(timeout=30) for future in futures] == ["A", "B", "C"]
    assert (one.calls, other.calls) == ([["a", "c"]], [["b"]])


def test_an_error_among_the_outcomes_is_that_piece_s_alone(stores):
    def put_some(sql, pieces):
        put(sql, [piece for piece in pieces if piece != "b"])
        return [LookupError("not b") if piece == "b" else piece for piece in pieces]

    with Standing(stores):
        a, b, c = (stores.db.submit_to(put_some, piece) for piece in "abc")
    assert (a.result(timeout=30), c.result(timeout=30)) == ("a", "c")
    with pytest.raises(LookupError, match="not b"):
        b.result(timeout=30)
    assert keys(stores) == ["a", "c"]


def test_pieces_that_fail_together_are_run_one_by_one_and_nothing_is_kept_twice(stores):
    calls = []

    def put_all(sql, pieces):
        calls.append(list(pieces))
        return put(sql, pieces)

    with Standing(stores):
        other = stores.db.submit(lambda sql: sql.run(_INSERT, ("other",)))
        a, twice, b = (stores.db.submit_to(put_all, piece) for piece in ("a", "stamp", "b"))
    assert (other.result(timeout=30), a.result(timeout=30), b.result(timeout=30)) == (1, "A", "B")
    with pytest.raises(StoreError, match="refused the write"):
        twice.result(timeout=30)
    assert calls == [["a", "stamp", "b"], ["a"], ["stamp"], ["b"]]
    assert keys(stores) == ["a", "b", "other"]


def test_work_that_fails_before_it_changed_anything_costs_nobody_a_second_run(stores):
    runs = []

    def refuse(sql):
        runs.append("refuse")
        sql.value("SELECT count(*) FROM control")
        raise LookupError("not today")

    def change(sql):
        runs.append("change")
        return sql.run(_INSERT, ("a",))

    with Standing(stores):
        changed, refused = stores.db.submit(change), stores.db.submit(refuse)
    assert changed.result(timeout=30) == 1
    with pytest.raises(LookupError):
        refused.result(timeout=30)
    assert runs == ["change", "refuse"]
    assert keys(stores) == ["a"]


def test_work_that_fails_after_it_changed_something_is_undone_and_the_others_are_kept_once(stores):
    def fail(sql):
        sql.tally("tried", "half")
        sql.run(_INSERT, ("half",))
        raise LookupError("mine alone")

    def change(sql):
        sql.tally("tried", "whole")
        return sql.run(_INSERT, ("whole",))

    with Standing(stores):
        failing, changed = stores.db.submit(fail), stores.db.submit(change)
    with pytest.raises(LookupError):
        failing.result(timeout=30)
    assert changed.result(timeout=30) == 1
    assert keys(stores) == ["whole"]
    assert rows(stores, "SELECT label, count FROM tallies WHERE name = 'tried'") == [("whole", 1)]


def test_what_refused_work_had_counted_before_it_was_refused_does_not_count(stores):
    def refuse(sql):
        sql.tally("tried", "refused")
        raise LookupError("not today")

    with pytest.raises(LookupError):
        stores.db.submit(refuse).result(timeout=30)
    assert rows(stores, "SELECT 1 FROM tallies WHERE name = 'tried'") == []


def test_a_piece_without_an_outcome_is_an_error_and_not_a_caller_that_waits_for_ever(stores):
    future = stores.db.submit_to(lambda _sql, _pieces: [], "a")
    with pytest.raises(ValueError, match="zip"):
        future.result(timeout=30)


def test_mail_that_is_refused_takes_none_of_its_group_along(stores):
    stores.credentials.add("shop", actor="test")
    stores.credentials.add("closed", actor="test")
    stores.credentials.disable("closed", actor="test")
    with Standing(stores):
        kept = [
            stores.messages.submit(envelope("a@example.com", "b@example.com", content=content), FACTS)
            for content in (b"one", b"two")
        ]
        shut = stores.messages.submit(envelope(credential="closed"), FACTS)
        gone = stores.messages.submit(envelope(credential="nobody"), FACTS)
        in_time, over = (
            stores.messages.submit(envelope(credential="shop"), FACTS, Caps(per_minute=1, per_day=None)) for _ in "12"
        )
    with pytest.raises(NotEnabledError, match="disabled"):
        shut.result(timeout=30)
    with pytest.raises(NotEnabledError, match="not there"):
        gone.result(timeout=30)
    with pytest.raises(OverCapError):
        over.result(timeout=30)
    ulids = [future.result(timeout=30) for future in (*kept, in_time)]
    found = rows(stores, "SELECT m.ulid, c.data FROM messages m JOIN contents c ON c.message_id = m.id ORDER BY m.id")
    assert [ulid for ulid, _ in found] == ulids
    assert [bytes(data) for _, data in found[:2]] == [b"one", b"two"]
    whose = rows(
        stores,
        "SELECT m.ulid, r.address FROM recipients r JOIN messages m ON m.id = r.message_id ORDER BY m.id, r.id",
    )
    assert whose == [(ulid, f"{name}@example.com") for ulid in ulids[:2] for name in "ab"] + [
        (ulids[2], "a@example.com")
    ]


def test_mail_that_the_database_refuses_takes_none_of_its_group_along(stores):
    with Standing(stores):
        before = stores.messages.submit(envelope(), FACTS)
        twice = stores.messages.submit(envelope(), FACTS)
        after = stores.messages.submit(envelope(), FACTS)
        twice.piece = before.piece
    ulids = [before.result(timeout=30), after.result(timeout=30)]
    with pytest.raises(StoreError, match="refused the write"):
        twice.result(timeout=30)
    assert [ulid for (ulid,) in rows(stores, "SELECT ulid FROM messages ORDER BY id")] == ulids
    assert rows(stores, "SELECT count(*) FROM recipients") == [(2,)]


def test_what_has_ended_the_transaction_fails_every_piece(stores):
    def fail(sql, pieces):
        put(sql, pieces)
        raise StoreUnavailableError("not the database's own word")

    with Standing(stores):
        a, b = (stores.db.submit_to(fail, piece) for piece in "ab")
    for future in (a, b):
        with pytest.raises(StoreUnavailableError):
            future.result(timeout=30)
    assert keys(stores) == []


def test_a_piece_that_the_database_did_not_take_is_not_kept_in_memory(stores):
    def fail(_sql):
        raise peewee.OperationalError("the disk is gone")

    with Standing(stores):
        kept = stores.messages.submit(envelope(), FACTS)
        stores.db.submit(fail)
    with pytest.raises(StoreUnavailableError):
        kept.result(timeout=30)
    assert kept.piece is None


def test_a_piece_that_is_given_up_or_done_is_not_kept_in_memory():
    given_up, done = Work(None, b"mail"), Work(None, b"mail")
    assert given_up.cancel()
    done.settle()
    assert (given_up.piece, done.piece) == (None, None)
