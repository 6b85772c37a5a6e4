from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.store.control import PAUSE, STOPPED, Lease, LeaseLostError, require_lease
from gateway.store.times import now_micros
from tests.support.mail import change, rows


def test_a_fact_is_kept_replaced_and_removed(stores):
    assert stores.control.get("topics") is None
    stores.control.put("topics", {"arns": ["a"]})
    stores.control.put("topics", {"arns": ["a", "é"]})
    assert stores.control.get("topics") == {"arns": ["a", "é"]}
    assert stores.control.remove("topics") is True
    assert stores.control.remove("topics") is False
    assert stores.control.get("topics") is None


@pytest.mark.parametrize(
    ("key", "lasting", "stopped"),
    [
        ("pause", None, True),
        ("circuit", timedelta(hours=1), True),
        ("circuit", timedelta(seconds=-1), False),
        ("throttle", None, False),
        ("account", None, False),
    ],
)
def test_what_stops_claims(stores, key, lasting, stopped):
    stores.control.put(key, {}, lasting=lasting)
    assert bool(rows(stores, STOPPED, now_micros())) is stopped


def test_putting_a_fact_anew_without_an_end_takes_its_end_away(stores):
    stores.control.put(PAUSE, {}, lasting=timedelta(seconds=-1))
    stores.control.put(PAUSE, {})
    assert rows(stores, "SELECT until FROM control WHERE key = 'pause'") == [(None,)]


def test_the_lease_goes_to_one_of_those_who_saw_it_free(stores):
    free = stores.control.read_lease()
    assert free == Lease("", 0, 0)
    assert stores.control.take_lease("first", free) == Lease("first", 1, 0)
    assert stores.control.take_lease("second", free) is None
    assert stores.control.read_lease() == Lease("first", 1, 0)


def test_a_beat_shows_and_refuses_a_take_over_by_who_has_not_seen_it(stores):
    lease = stores.control.take_lease("first", stores.control.read_lease())
    seen = stores.control.read_lease()
    assert stores.control.beat(lease) is True
    assert stores.control.read_lease() == Lease("first", 1, 1)
    assert stores.control.take_lease("second", seen) is None


def test_a_taken_over_lease_cannot_be_beaten_or_cleared_by_its_former_holder(stores):
    first = stores.control.take_lease("first", stores.control.read_lease())
    second = stores.control.take_lease("second", stores.control.read_lease())
    assert second == Lease("second", 2, 0)
    assert stores.control.beat(first) is False
    stores.control.clear_lease(first)
    assert stores.control.read_lease() == second
    with stores.db.read() as sql:
        require_lease(sql, second)
        with pytest.raises(LeaseLostError):
            require_lease(sql, first)


def test_a_cleared_lease_is_free_and_keeps_its_epoch(stores):
    first = stores.control.take_lease("first", stores.control.read_lease())
    before = stores.control.read_lease()
    stores.control.clear_lease(first)
    cleared = stores.control.read_lease()
    assert (cleared.holder, cleared.epoch) == ("", 1)
    # Who saw it before the clean stop must look again.
    assert stores.control.take_lease("second", before) is None
    assert stores.control.take_lease("second", cleared).epoch == 2


def test_a_restored_clock_row_is_no_reason_to_lose_the_lease(stores):
    lease = stores.control.take_lease("first", stores.control.read_lease())
    change(stores, "UPDATE control SET changed_at = 1")
    assert stores.control.beat(lease) is True
