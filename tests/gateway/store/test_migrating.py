"""Upgrading a database that the release before is at work in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from playhouse.migrations import Runner

from gateway.store import schema
from gateway.store.messages import Messages
from gateway.store.opening import open_database
from gateway.store.schema import migrate
from tests.support.mail import FACTS, envelope
from tests.support.waiting import until

_BEFORE = "0004_feedback_and_suppression"


@contextmanager
def database_of_the_release_before(url):
    database = open_database(url, gate_timeout=30)
    try:
        database.create()
        with database.exclusive() as connection:
            Runner(connection, str(schema._DIRECTORY), table_name=schema._HISTORY).up(_BEFORE)
        yield database
    finally:
        database.close()


@pytest.fixture
def postgres_url(postgres):
    name = postgres.new_database()
    yield postgres.url(name)
    postgres.drop(name)


def waits_for_a_table(database) -> bool:
    with database.read() as sql:
        return sql.value("SELECT 1 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL") is not None


def test_migrating_and_a_program_that_changes_two_tables_do_not_wait_for_each_other(postgres_url):
    changed, go_on, runs = threading.Event(), threading.Event(), []

    def change(sql):
        runs.append("change")
        sql.run("UPDATE notifications SET error = ''")
        changed.set()
        assert go_on.wait(30)
        return sql.run("UPDATE recipients SET attempts = attempts + 1")

    with database_of_the_release_before(postgres_url) as database, ThreadPoolExecutor(1) as pool:
        Messages(database, timedelta(days=4)).submit(envelope(), FACTS).result(timeout=30)
        changing = database.submit(change)
        assert changed.wait(30)
        migrating = pool.submit(migrate, postgres_url, "sandbox")
        try:
            until(lambda: waits_for_a_table(database))
        finally:
            go_on.set()
        assert changing.result(timeout=30) == 1
        assert migrating.result(timeout=30)
    assert runs == ["change"]


def indexes_of(database) -> set[str]:
    with database.read() as sql:
        return {name for (name,) in sql.all("SELECT name FROM sqlite_master WHERE type = 'index'")}


def test_a_migration_that_was_ended_half_way_is_finished_by_the_next(tmp_path):
    url = f"sqlite:///{tmp_path / 'sesgate.db'}"
    with database_of_the_release_before(url) as database:
        with database.exclusive() as connection:
            connection.execute_sql("CREATE INDEX events_of_address ON events ((id / 8192), address_key)")
            connection.execute_sql("DROP INDEX event_address_key")
            connection.execute_sql("CREATE INDEX recipients_of_address ON recipients ((id / 8192), address_key)")
            connection.execute_sql("DROP INDEX recipient_address_key")
        assert migrate(url, "sandbox")
        assert {"recipients_of_address", "events_of_address", "events_bounced"} <= indexes_of(database)
        assert not {"event_address_key", "recipient_address_key", "events_blaming"} & indexes_of(database)
