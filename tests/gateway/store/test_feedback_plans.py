"""Judging an address, and looking for what is to be processed again, reads no table from end to end.

And where PostgreSQL lets two transactions meet, neither overlooks the other.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from datetime import UTC, datetime

import pytest

from gateway.settings import Settings
from gateway.store.events import Source, take_in
from gateway.store.replays import Replays
from gateway.store.stores import open_stores
from gateway.store.times import now_micros
from gateway.suppression_policy import Policy
from tests.gateway.store.test_operations_postgres import Held, waits_for_a_lock
from tests.gateway.store.test_plans import OURS, asked, recorded, scans
from tests.gateway.store.test_postgres import url_of
from tests.gateway.store.test_strikes import (
    ECHO,
    ago,
    arrive,
    delivered,
    five_strikes,
    hard,
    lift,
    listed,
    own,
    soft,
    stored,
)
from tests.support.waiting import until

SQLITE_ONLY = True
# What judges an address, and the index that each is meant to use.
JUDGING = {
    "AND e.kind = 'Bounce' ORDER BY": "events_bounced",
    "max(e.occurred_at)": "events_delivered",
    "ses_message_id, max(occurred_at)": "events_delivered_mail",
}


def exercise(stores):
    arrive(stores, *five_strikes(), delivered("later", ago(hours=1)))
    arrive(stores, listed("m", ago(minutes=50)), hard("n", ago(minutes=40)))
    lift(stores)
    arrive(stores, hard("n", ago(minutes=40)), soft("o", ago(minutes=30)))
    arrive(stores, delivered("p", ago(minutes=20)))
    own(stores, ECHO)
    replays = Replays(stores.db)
    day = datetime.now(UTC).date()
    replays.list(day=day)
    replays.list(before=3)
    replays.list(not_understood=True)
    ids = [*replays.find(day=day), *replays.find(not_understood=True)]
    list(replays.replay(ids, actor="jane"))
    replays.progress(ids)
    replays.show("1")
    replays.show("sns-1")


def test_feedback_scans_no_table(stores, tmp_path, monkeypatch):
    seen = recorded(stores, monkeypatch)
    exercise(stores)
    # The whole index of the few that are not understood is what is asked for.
    assert [one for one in scans(tmp_path, seen) if "INDEX notifications_not_understood" not in one[0]] == []
    with sqlite3.connect(tmp_path / "sesgate.db") as connection:
        plans = [
            (str(connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()), text)
            for text, values in asked(seen)
        ]
    connection.close()
    assert not_as_meant(plans) == []


def not_as_meant(plans):
    """Judging statements that are not executed at all, or not by their index."""
    return [
        (part, index)
        for part, index in JUDGING.items()
        if not any(part in text for _, text in plans)
        or any(part in text and not re.search(rf"\b{index}\b", plan) for plan, text in plans)
    ]


def test_postgresql_scans_no_table_for_feedback_either(postgres_stores, monkeypatch):
    seen = recorded(postgres_stores, monkeypatch)
    exercise(postgres_stores)
    plans = []
    with postgres_stores.db.read() as sql:
        sql.all("SELECT set_config('enable_seqscan', 'off', false)")  # the tables are too small for an index to pay
        for statement, values in asked(seen):
            if not any(trick in statement for trick in OURS):
                cursor = postgres_stores.db.peewee.execute_sql(f"EXPLAIN {statement}", values)
                plans.append(("\n".join(step for (step,) in cursor.fetchall()), statement))
    assert [plan for plan in plans if "Seq Scan on " in plan[0]] == []
    assert not_as_meant(plans) == []


def test_the_bounces_that_do_not_suppress_look_for_no_delivery(stores, monkeypatch):
    """Nearly all of them: so it takes them no longer beside ten million deliveries."""
    seen = recorded(stores, monkeypatch)
    arrive(stores, *five_strikes()[:4])
    assert not any("max(e.occurred_at)" in text for text, _ in asked(seen))
    arrive(stores, five_strikes()[4])
    assert any("max(e.occurred_at)" in text for text, _ in asked(seen))


@pytest.fixture
def other(postgres_stores):
    """A second program on the database."""
    opened = open_stores(Settings(database_url=url_of(postgres_stores)))
    yield opened
    opened.close()


def taking_in(stores, feedback):
    source = Source(stored(stores), now_micros())
    policy = Policy.from_settings(Settings())
    return Held(stores, lambda sql: take_in(sql, source, feedback, policy, wait_for_match=False))


def meet(stores, other, first, second):
    """Two reports, each taken in by a transaction that began before the other one's was over."""
    held = taking_in(stores, first)
    thread = threading.Thread(target=lambda: arrive(other, second))
    thread.start()
    until(lambda: waits_for_a_lock(stores))
    held.let_go()
    thread.join(30)


def test_strikes_that_two_workers_count_at_once_are_both_counted(postgres_stores, other):
    strikes = five_strikes()
    arrive(postgres_stores, *strikes[:3])
    meet(postgres_stores, other, strikes[3], strikes[4])
    (found,) = postgres_stores.suppressions.list()
    assert found.since == strikes[4].occurred_at


def test_a_delivery_that_meets_the_last_strike_is_not_overlooked(postgres_stores, other):
    strikes, later = five_strikes(), delivered("later", ago(hours=1))
    arrive(postgres_stores, *strikes[:4])
    meet(postgres_stores, other, strikes[4], later)
    assert postgres_stores.suppressions.list() == []
