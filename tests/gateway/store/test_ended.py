"""The walk over recipients that have ended, and what it must not pass by."""

from __future__ import annotations

from datetime import timedelta

from gateway.store.ended import SLACK, Walk, go_on, read_page, start_over
from gateway.store.times import now_micros, span
from tests.support.mail import accept, change

WALK = Walk("a walk")


def page(stores, kept=timedelta(0)):
    with stores.db.read() as sql:
        return read_page(sql, WALK, now_micros(), kept, most=10)


def ended(stores, *, ago):
    (id_,) = accept(stores)
    change(
        stores, "UPDATE recipients SET status = 'DELIVERED', ended_at = ? WHERE id = ?", now_micros() - span(ago), id_
    )


def test_a_page_that_is_done_is_not_read_again(stores):
    ended(stores, ago=2 * SLACK)
    first = page(stores)
    assert len(first.messages) == 1
    stores.db.write(lambda sql: go_on(sql, WALK, first))
    assert page(stores) is None


def test_a_walk_that_was_begun_anew_meanwhile_stays_at_its_beginning(stores):
    ended(stores, ago=4 * SLACK)
    first = page(stores)
    stores.db.write(lambda sql: go_on(sql, WALK, first))
    ended(stores, ago=2 * SLACK)
    second = page(stores)
    stores.db.write(start_over)
    stores.db.write(lambda sql: go_on(sql, WALK, second))
    assert len(page(stores).messages) == 2


def test_an_end_is_left_alone_until_all_that_were_written_late_have_arrived(stores):
    ended(stores, ago=SLACK / 2)
    assert page(stores, kept=timedelta(seconds=1)) is None
