from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.feedback import EventKind
from gateway.store.control import CIRCUIT, LeaseLostError
from gateway.store.times import now_micros
from tests.gateway.store.test_notifications import apply, feedback, sent, stored
from tests.support.mail import accept, begun, change, column, lease_of, rows

HOUR = 3_600_000_000
YEAR = 365 * 24 * HOUR


def test_times_far_ahead_are_corrected_and_others_stay(stores):
    one, two, three = (accept(stores, f"{name}@b.example")[0] for name in ("one", "two", "three"))
    now = now_micros()
    change(stores, "UPDATE recipients SET next_attempt_at = ?, reason = 'later' WHERE id = ?", now + 1_800_000_000, one)
    change(stores, "UPDATE recipients SET next_attempt_at = ? WHERE id = ?", now + 1_800_000_000, two)
    change(stores, "UPDATE recipients SET dispatched_until = ? WHERE id = ?", now + 1_800_000_000, three)
    assert stores.sweeping.correct_times(lease_of(stores)) == 2
    assert column(stores, one, "next_attempt_at") == now + 1_800_000_000, "a retry that waits half an hour"
    assert column(stores, two, "next_attempt_at") < now + 60_000_000
    assert column(stores, three, "dispatched_until") is None


@pytest.mark.parametrize("status", ["AMBIGUOUS", "HELD", "QUEUED"])
def test_mail_of_a_time_to_come_has_the_age_of_a_new_one(stores, status):
    (id_,) = accept(stores)
    change(
        stores,
        "UPDATE recipients SET status = ?, changed_at = changed_at + ?, expires_at = expires_at + ? WHERE id = ?",
        status,
        YEAR,
        YEAR,
        id_,
    )
    assert stores.sweeping.correct_times(lease_of(stores)) > 0
    assert column(stores, id_, "expires_at") <= now_micros() + 4 * 24 * HOUR
    if status != "QUEUED":
        assert column(stores, id_, "changed_at") <= now_micros()
    assert stores.sweeping.correct_times(lease_of(stores)) == 0


def test_mail_in_doubt_of_a_time_to_come_is_judged_from_now_on(stores):
    (id_,) = accept(stores)
    stores.sending.ambiguous(begun(stores, id_), "no answer")
    change(stores, "UPDATE recipients SET changed_at = changed_at + ?", YEAR)
    change(stores, "UPDATE attempts SET started_at = started_at + ?", YEAR)
    stores.sweeping.correct_times(lease_of(stores))
    assert rows(stores, "SELECT 1 FROM attempts WHERE started_at > ?", now_micros()) == []
    assert column(stores, id_, "changed_at") <= now_micros()


@pytest.mark.parametrize(("minutes", "corrected"), [(10, 0), (61, 1)])
def test_a_circuit_is_open_no_longer_than_any_circuit(stores, minutes, corrected):
    stores.control.put(CIRCUIT, {"reason": "paused"}, lasting=timedelta(minutes=minutes))
    assert stores.sweeping.correct_times(lease_of(stores)) == corrected
    assert stores.sending.outlook().stopped is not bool(corrected)


def test_reports_far_ahead_are_looked_at_now(stores):
    first, second = stored(stores), stored(stores)
    change(stores, "UPDATE notifications SET next_attempt_at = ? WHERE id = ?", now_micros() + 2 * HOUR, first)
    change(stores, "UPDATE notifications SET dispatched_until = ? WHERE id = ?", now_micros() + HOUR, second)
    assert stores.sweeping.correct_times(lease_of(stores)) == 2
    assert {id_ for id_, _ in stores.notifications.mark_due(lease_of(stores), 10)} == {first, second}


def test_the_newest_report_is_no_report_of_a_time_to_come(stores):
    sent(stores)
    apply(stores, feedback(EventKind.SEND), feedback(EventKind.DELIVERY, address="a@example.com"))
    change(stores, "UPDATE events SET stored_at = stored_at + ?", YEAR)
    assert stores.sweeping.correct_times(lease_of(stores)) == 1
    assert rows(stores, "SELECT stored_at <= ? FROM events ORDER BY id DESC LIMIT 1", now_micros()) == [(True,)]


def test_nothing_is_written_where_all_is_well(stores):
    accept(stores)
    stale = lease_of(stores)
    lease_of(stores, "another")
    assert stores.sweeping.correct_times(stale) == 0
    change(stores, "UPDATE recipients SET next_attempt_at = ?", now_micros() + YEAR)
    with pytest.raises(LeaseLostError):
        stores.sweeping.correct_times(stale)
