"""Where PostgreSQL lets two transactions meet, and SQLite has one after the other."""

from __future__ import annotations

import threading
from datetime import timedelta

from gateway.lifecycle import Happening, Status
from gateway.store.operations import Action, Operations, Order, Outcome, Selection, Skip
from gateway.store.sending import happen
from gateway.store.times import now_micros, span
from tests.support.mail import accept, change, lease_of, mark, rows, status
from tests.support.meeting import Held, waits_for_a_lock
from tests.support.waiting import until


def cancelling(stores):
    operations = Operations(stores.db, timedelta(days=4))
    wanted = Order(Action.CANCEL, Selection(statuses=(Status.QUEUED,)), "jane")
    outcomes = []
    ids = operations.find(wanted)
    thread = threading.Thread(target=lambda: outcomes.append(sum(operations.run(wanted, ids), Outcome())))
    thread.start()
    return thread, outcomes


def ended_long_ago(stores, *, days):
    moment = now_micros() - span(timedelta(days=days))
    change(stores, "UPDATE recipients SET status = 'FAILED', ended_at = ?", moment)
    change(stores, "UPDATE messages SET accepted_at = ?", moment)


def retrying(stores):
    """A retry of the first recipient, without its commit."""
    operations = Operations(stores.db, timedelta(days=4))

    def run(sql):
        assert operations._do(sql, Order(Action.RETRY, Selection(), "jane"), [1]).done == 1

    return run


def test_a_row_in_another_hand_is_waited_for_and_then_looked_at_anew(pair):
    operator, worker = pair
    ids = accept(operator, "a@example.com", "b@example.com", "c@example.com")
    mark(operator, *ids)
    # A claim that is not committed yet.
    held = Held(worker, lambda sql: happen(sql, ids[1], Happening.CLAIM))
    thread, outcomes = cancelling(operator)
    until(lambda: waits_for_a_lock(operator), what="the cancellation waits for the claimed row")
    held.let_go()
    thread.join(timeout=30)
    assert outcomes == [Outcome(2, 0, {Skip.SENDING: 1})]
    assert [status(operator, id_) for id_ in ids] == ["CANCELLED", "SENDING", "CANCELLED"]


def test_retention_leaves_the_content_that_a_retry_has_in_hand(pair):
    operator, house = pair
    accept(operator)
    ended_long_ago(operator, days=8)
    lease = lease_of(house)
    held = Held(operator, retrying(operator))
    assert house.retention.run(lease)["contents"] == 0
    held.let_go()
    assert house.retention.run(lease)["contents"] == 0
    assert rows(operator, "SELECT count(*) FROM contents") == [(1,)]


def test_retention_comes_back_to_what_somebody_had_in_hand(pair):
    operator, house = pair
    accept(operator)
    ended_long_ago(operator, days=8)
    lease = lease_of(house)
    held = Held(operator, lambda sql: sql.all(f"SELECT message_id FROM contents{sql.to_change}"))
    assert house.retention.run(lease)["contents"] == 0
    held.let_go()
    assert house.retention.run(lease)["contents"] == 1


def test_retention_leaves_the_message_that_a_retry_has_in_hand(pair):
    operator, house = pair
    accept(operator)
    ended_long_ago(operator, days=91)
    held = Held(operator, retrying(operator))
    gone = []
    lease = lease_of(house)
    thread = threading.Thread(target=lambda: gone.append(house.retention.run(lease)["messages"]))
    thread.start()
    until(lambda: waits_for_a_lock(operator), what="retention waits for the recipient")
    held.let_go()
    thread.join(timeout=30)
    assert gone == [0]
    assert status(operator, 1) == "QUEUED"
    assert rows(operator, "SELECT count(*) FROM contents") == [(1,)]


def test_a_retry_waits_for_retention_that_has_the_content_in_hand(pair):
    operator, house = pair
    accept(operator)
    change(operator, "UPDATE recipients SET status = 'FAILED', ended_at = 1")
    operations = Operations(operator.db, timedelta(days=4))
    wanted = Order(Action.RETRY, Selection(), "jane")
    held = Held(house, lambda sql: sql.run("DELETE FROM contents"))
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.extend(operations.run(wanted, operations.find(wanted))))
    thread.start()
    until(lambda: waits_for_a_lock(operator), what="the retry waits for the content")
    held.let_go()
    thread.join(timeout=30)
    assert outcomes == [Outcome(0, 0, {Skip.NO_CONTENT: 1})]
