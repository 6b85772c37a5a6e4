"""Where PostgreSQL lets two programs judge one address at once, and SQLite has one after the other."""

from __future__ import annotations

import threading

import pytest

from gateway.addresses import parse_mailbox
from gateway.store.events import Source, take_in
from gateway.store.suppression_rows import lift
from gateway.store.times import now_micros
from gateway.suppression_policy import Reason
from tests.gateway.store.test_strikes import JANE, ago, delivered, hard, listed, stored
from tests.support.meeting import Held, waits_for_a_lock
from tests.support.waiting import until


def taking_in(stores, feedback):
    """A worker that has understood a report, without its commit."""
    source, policy = Source(stored(stores), now_micros()), stores.notifications._policy
    return lambda sql: take_in(sql, source, feedback, policy, wait_for_match=False)


def lifting(sql):
    """As `suppressions remove` does, without its commit."""
    sql.in_turn(JANE)
    assert lift(sql, JANE, at=now_micros(), by="jim", why="a reason")


def in_force(stores):
    return stores.suppressions.find(parse_mailbox(JANE))


BOUNCE, DELIVERY = listed("m-1", ago(hours=2)), delivered("m-2", ago(hours=1))


@pytest.mark.parametrize("order", [(BOUNCE, DELIVERY), (DELIVERY, BOUNCE)])
def test_a_bounce_and_the_delivery_that_refutes_it_find_each_other(pair, order):
    """The first bounce ever of the address: nobody could know that there is anything to wait for."""
    one, other = pair
    held = Held(one, taking_in(one, order[0]))
    second = other.db.submit(taking_in(other, order[1]))
    until(lambda: waits_for_a_lock(one) or second.done())
    held.let_go()
    second.result(timeout=30)
    assert in_force(one) is None


def test_deliveries_to_one_address_do_not_wait_for_one_another(pair):
    one, other = pair
    held = Held(one, taking_in(one, delivered("m-1", ago(hours=2))))
    other.db.submit(taking_in(other, DELIVERY)).result(timeout=30)
    held.let_go()


def test_a_report_that_is_processed_while_a_person_lifts_stays_lifted(pair):
    one, other = pair
    one.db.write(taking_in(one, hard("m-0", ago(hours=3))))
    held = Held(one, taking_in(one, hard("m-1", ago(hours=2))))
    lifted = []
    person = threading.Thread(
        target=lambda: lifted.append(other.suppressions.remove(parse_mailbox(JANE), why="a reason", actor="jim"))
    )
    person.start()
    until(lambda: waits_for_a_lock(one) or not person.is_alive())
    held.let_go()
    person.join(30)
    assert lifted[0].reason is Reason.BOUNCE
    assert in_force(one) is None


def test_a_report_that_waits_for_a_lifting_obeys_it(pair):
    one, other = pair
    one.db.write(taking_in(one, hard("m-0", ago(hours=3))))
    late = taking_in(other, hard("m-1", ago(hours=2)))  # it is here already
    held = Held(one, lifting)
    second = other.db.submit(late)
    until(lambda: waits_for_a_lock(one) or second.done())
    held.let_go()
    second.result(timeout=30)
    assert in_force(one) is None
