from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from gateway.store import notifications
from gateway.store.errors import StoreUnavailableError
from gateway.store.notifications import NewNotification
from tests.support.busy_writer import standing_writer
from tests.support.mail import rows
from tests.support.stores import sqlite_stores

AT = datetime(2026, 11, 22, tzinfo=UTC)


def notification(sns_message_id: str) -> NewNotification:
    return NewNotification(sns_message_id, "arn:aws:sns:us-east-1:1:t", "{}", AT)


def test_many_are_stored_at_once_and_each_has_its_own_answer(stores):
    known = stores.notifications.store(notification("known"))
    first, again, second, twice = stores.notifications.store_all(
        [notification("first"), notification("known"), notification("second"), notification("first")]
    )
    assert (again, twice) == (None, None)
    assert {known, first, second} == {id_ for (id_,) in rows(stores, "SELECT id FROM notifications")}


def test_more_than_a_statement_takes_are_stored_at_once_too(stores):
    ids = stores.notifications.store_all([notification(f"sns-{number % 120}") for number in range(130)])
    assert ids[120:] == [None] * 10
    stored = dict(rows(stores, "SELECT id, sns_message_id FROM notifications"))
    assert [stored[id_] for id_ in ids[:120]] == [f"sns-{number}" for number in range(120)]


def test_what_several_threads_bring_meanwhile_is_stored_by_one_statement(tmp_path, monkeypatch):
    stores, inserted = sqlite_stores(tmp_path), []
    insert_all = notifications._insert_all

    def noted(sql, group):
        inserted.append(len(group))
        return insert_all(sql, group)

    monkeypatch.setattr(notifications, "_insert_all", noted)
    try:
        with standing_writer(stores):
            futures = [stores.notifications.submit(notification(str(number))) for number in range(5)]
        assert len({future.result(30) for future in futures}) == 5
        assert inserted == [5]
    finally:
        stores.close()


def test_one_that_the_database_does_not_take_keeps_no_other_out(stores):
    bad = replace(notification("bad"), topic_arn=None)
    first, refused, second = stores.notifications.store_all([notification("first"), bad, notification("second")])
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert isinstance(refused, Exception)


def test_none_of_them_waits_longer_than_one_would(tmp_path):
    stores = sqlite_stores(tmp_path, gate_timeout="100ms")
    try:
        with standing_writer(stores):
            answers = stores.notifications.store_all([notification(str(number)) for number in range(10)])
        assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
        assert rows(stores, "SELECT count(*) FROM notifications") == [(0,)]
    finally:
        stores.close()
