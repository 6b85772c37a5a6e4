"""Connections to PostgreSQL: what is asked of the server before one is used, and what is not."""

from __future__ import annotations

import threading

import pytest

from gateway.store import postgres_pool as module
from tests.support.waiting import until


@pytest.fixture
def questions(postgres_stores, monkeypatch):
    """How often the server was asked whether a connection still stands."""
    asked = []
    adapter = postgres_stores.db.peewee._adapter
    ask = adapter.is_connection_closed

    def counted(connection):
        asked.append(connection)
        return ask(connection)

    monkeypatch.setattr(adapter, "is_connection_closed", counted)
    return asked


def test_a_connection_that_was_in_use_a_moment_ago_is_taken_without_a_question(postgres_stores, questions):
    for _ in range(3):
        postgres_stores.control.get("x")
    assert questions == []


def test_after_a_pause_the_server_is_asked_whether_the_connection_still_stands(postgres_stores, questions, monkeypatch):
    monkeypatch.setattr(module, "_ASKED_AFTER", 0.0)
    postgres_stores.control.get("x")
    postgres_stores.control.get("x")
    assert len(questions) == 2


def test_a_connection_that_the_server_has_ended_is_given_to_nobody(postgres, postgres_stores, questions):
    with postgres_stores.db.read() as sql:
        session = sql.value("SELECT pg_backend_pid()")
    (_, _, connection), *_ = postgres_stores.db.peewee._connections
    postgres.sql(f"SELECT pg_terminate_backend({session})")
    until(lambda: module._is_readable(connection.fileno()))
    with postgres_stores.db.read() as sql:
        assert sql.value("SELECT pg_backend_pid()") != session
    assert questions == [connection]


def test_the_transaction_that_is_looked_up_is_the_one_in_which_the_work_was_done_in_the_end(postgres_stores):
    inside, go_on, seen = threading.Event(), threading.Event(), []
    own = "SELECT pg_current_xact_id()::text"

    def hold(sql):
        inside.set()
        assert go_on.wait(30)
        seen.append((sql.value(own), postgres_stores.db.peewee.transaction_id))

    def fail(sql):
        sql.run("UPDATE control SET changed_at = changed_at")
        raise LookupError("mine alone")

    held = postgres_stores.db.submit(hold)
    failing = postgres_stores.db.submit(fail)
    again = postgres_stores.db.submit(lambda sql: (sql.value(own), postgres_stores.db.peewee.transaction_id))
    assert inside.wait(30)
    go_on.set()
    held.result(timeout=30)
    with pytest.raises(LookupError):
        failing.result(timeout=30)
    seen.append(again.result(timeout=30))
    assert all(theirs == ours for theirs, ours in seen)
