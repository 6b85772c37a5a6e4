"""Beside many finished mails no statement does more work, on either database, than beside few.

Which statements there are is found out by recording what the stores execute.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from benchmarks.filling import fill_finished, fill_queue, fill_suppressions, indexed_afterwards, mail_of
from gateway.store.sql import Sql
from tests.gateway.store import test_feedback_plans
from tests.gateway.store.test_plans import OURS, SMALL, asked, exercise, recorded

SQLITE_ONLY = True
FINISHED = 60_000
# Instructions of SQLite's machine. Retention looks at 2,000 rows at once; reading 60,000 takes three for each at least.
MOST_STEPS = 120_000
_EVERY = 1000
# What a person leafs through in the order of addresses, to see what has expired and is not put away yet.
PAGE = "FROM suppressions WHERE address_key > ? AND expires_at <= ?"


@pytest.fixture
def full(stores):
    fill(stores)
    return stores


@pytest.fixture
def full_postgres(postgres_stores):
    """With statistics, so that the planner chooses as it does in a database that has grown."""
    fill(postgres_stores)
    with postgres_stores.db.exclusive() as database:
        database.execute_sql("ANALYZE")
    return postgres_stores


def fill(stores):
    with indexed_afterwards(stores, lambda _text: None):
        fill_finished(stores, FINISHED, lambda _text: None)
        fill_queue(stores, 2000, mail_of(500))
    fill_suppressions(stores, FINISHED)


def exercise_all(stores):
    test_feedback_plans.exercise(stores)
    exercise(stores)
    lease = stores.control.take_lease("other", stores.control.read_lease())
    stores.sweeping.correct_times(lease)
    stores.sweeping.sweep_lapsed(lease)
    stores.ambiguity.settle(lease)
    stores.ambiguity.outlook()
    stores.silence.listen()
    stores.reputation.judge(lease)
    stores.reputation.standings()


def steps_taken(monkeypatch):
    """The most that one execution of each statement has taken, as it goes on."""
    most: Counter[str] = Counter()
    now: dict[object, list] = {}
    execute = Sql._execute

    def count(connection):
        def more():
            running = now[connection]
            running[1] += _EVERY
            most[running[0]] = max(most[running[0]], running[1])

        return more

    def record(self, statement, parameters):
        connection = self._cursor.connection
        if connection not in now:
            connection.set_progress_handler(count(connection), _EVERY)
        now[connection] = [statement, 0]
        return execute(self, statement, parameters)

    monkeypatch.setattr(Sql, "_execute", record)
    return most


def test_no_statement_works_through_what_is_finished(full, monkeypatch):
    most = steps_taken(monkeypatch)
    exercise_all(full)
    others = (*OURS, PAGE)
    assert {
        text: steps for text, steps in most.items() if steps > MOST_STEPS and not any(one in text for one in others)
    } == {}
    assert most, "nothing was counted"


def test_a_walk_through_a_table_would_be_noticed(full, monkeypatch):
    most = steps_taken(monkeypatch)
    with full.db.read() as sql:
        sql.value("SELECT count(*) FROM recipients WHERE status = 'DELIVERED'")
    assert max(most.values()) > MOST_STEPS


def test_postgresql_plans_no_walk_through_a_table(full_postgres, monkeypatch):
    seen = recorded(full_postgres, monkeypatch)
    exercise_all(full_postgres)
    with full_postgres.db.exclusive() as database:
        database.execute_sql("ANALYZE")
        plans = [
            ("\n".join(step for (step,) in database.execute_sql(f"EXPLAIN {statement}", values).fetchall()), statement)
            for statement, values in asked(seen)
            if not any(trick in statement for trick in OURS)
        ]
    small = "|".join((*SMALL, "credential_", "audit", "suppression_import", "suppression_history"))
    assert [plan for plan in plans if re.search(rf"Seq Scan on (?!{small})", plan[0])] == []
    assert test_feedback_plans.not_as_meant(plans) == []
