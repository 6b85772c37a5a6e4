"""Caps: how many recipients a credential may be accepted for, counted where they are accepted."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from gateway.credentials import DAY, Caps
from gateway.settings import Settings
from gateway.store import retention, usage
from gateway.store.errors import OverCapError
from gateway.store.stores import open_stores
from gateway.store.times import from_micros, span
from tests.support.mail import FACTS, envelope, lease_of, rows
from tests.support.stores import sqlite_settings

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def addresses(number, start=0):
    return [f"n{start + one}@example.com" for one in range(number)]


def submit(stores, number, caps, credential="local"):
    message = envelope(*addresses(number), credential=credential)
    return stores.messages.submit(message, FACTS, caps).result(timeout=30)


def at(monkeypatch, moment):
    micros = span(moment - from_micros(0))
    monkeypatch.setattr(usage, "now_micros", lambda: micros)
    monkeypatch.setattr(retention, "now_micros", lambda: micros)


def counted(stores):
    return rows(stores, "SELECT period, SUM(recipients) FROM credential_usage GROUP BY period ORDER BY period")


def test_without_caps_nothing_is_counted(stores):
    submit(stores, 3, None)
    assert counted(stores) == []


@pytest.mark.parametrize(
    ("caps", "period", "cap"), [(Caps(5, None), "minute", 5), (Caps(None, 5), "day", 5), (Caps(5, 100), "minute", 5)]
)
def test_recipients_are_accepted_up_to_the_cap_and_nothing_is_kept_of_one_more(stores, caps, period, cap):
    submit(stores, 3, caps)
    submit(stores, 2, caps)
    with pytest.raises(OverCapError, match=f"local may send to 5 recipients a {period}; room again at") as error:
        submit(stores, 1, caps)
    assert (error.value.credential, error.value.period, error.value.cap) == ("local", period, cap)
    assert error.value.free_at > datetime.now(UTC)
    assert rows(stores, "SELECT count(*) FROM messages") == [(2,)]
    assert rows(stores, "SELECT count(*) FROM contents") == [(2,)]
    assert {number for _, number in counted(stores)} == {5}


def test_a_message_that_is_too_large_for_the_cap_leaves_the_rest_to_others(stores):
    caps = Caps(None, 5)
    submit(stores, 3, caps)
    with pytest.raises(OverCapError) as error:
        submit(stores, 3, caps)
    assert error.value.free_at is not None
    with pytest.raises(OverCapError, match="never can") as error:
        submit(stores, 6, caps)
    assert error.value.free_at is None
    submit(stores, 2, caps)


def test_every_credential_has_room_of_its_own(stores):
    stores.credentials.add("shop", actor="ann")
    submit(stores, 5, Caps(None, 5))
    submit(stores, 5, Caps(None, 5), "shop")


def test_a_day_slides(stores, monkeypatch):
    caps = Caps(None, 10)
    at(monkeypatch, NOON)
    submit(stores, 6, caps)
    at(monkeypatch, NOON + timedelta(hours=10, minutes=7))
    submit(stores, 4, caps)
    for hours in (11, 23.9, 24.2):
        at(monkeypatch, NOON + timedelta(hours=hours))
        with pytest.raises(OverCapError) as error:
            submit(stores, 1, caps)
        assert error.value.free_at == NOON + timedelta(hours=24, minutes=15)
    at(monkeypatch, NOON + timedelta(hours=24, minutes=15))
    submit(stores, 6, caps)
    with pytest.raises(OverCapError) as error:
        submit(stores, 1, caps)
    assert error.value.free_at == NOON + timedelta(hours=34, minutes=15)


def test_a_minute_slides_across_the_change_of_the_minute(stores, monkeypatch):
    caps = Caps(10, None)
    at(monkeypatch, NOON - timedelta(seconds=3))
    submit(stores, 10, caps)
    at(monkeypatch, NOON + timedelta(seconds=10))
    with pytest.raises(OverCapError) as error:
        submit(stores, 1, caps)
    assert error.value.free_at == NOON + timedelta(seconds=60)
    at(monkeypatch, NOON + timedelta(seconds=60))
    submit(stores, 10, caps)


def test_what_a_wrong_clock_has_left_far_ahead_does_not_count(stores, monkeypatch):
    at(monkeypatch, NOON + timedelta(days=300))
    submit(stores, 5, Caps(5, 5))
    at(monkeypatch, NOON)
    submit(stores, 5, Caps(5, 5))


def test_the_standing_tells_what_was_used_of_a_cap(stores):
    stores.credentials.add("shop", actor="ann", per_day=5)
    submit(stores, 3, Caps(7, 5), "shop")
    local, shop = stores.credentials.standings()
    assert (local.used, shop.used) == ({}, {"day": 3})


def test_use_goes_when_it_counts_no_more(stores, monkeypatch):
    at(monkeypatch, NOON)
    submit(stores, 3, Caps(10, 10))
    lease = lease_of(stores)
    at(monkeypatch, NOON + DAY.length + DAY.step - timedelta(minutes=1))
    assert stores.retention.run(lease)["usage"] == 0
    at(monkeypatch, NOON + DAY.length + DAY.step)
    assert stores.retention.run(lease)["usage"] == 2
    assert counted(stores) == []


# Several at once


def url_of(stores):
    if hasattr(stores.db, "path"):
        return sqlite_settings(stores.db.path.parent).database
    name, parameters = stores.db._name, stores.db._parameters
    return f"postgresql://{parameters['user']}@/{name}?host={parameters['host']}"


_FRONT = """
import sys
from gateway.credentials import Caps
from gateway.settings import Settings
from gateway.store.errors import OverCapError
from gateway.store.stores import open_stores
from tests.support.mail import FACTS, envelope

stores = open_stores(Settings(database_url=sys.argv[1], gate_timeout="30s"))
print("ready", flush=True)
sys.stdin.readline()
futures = [
    stores.messages.submit(envelope("a@example.com", "b@example.com", credential=name), FACTS, Caps(None, 50))
    for _ in range(40)
    for name in ("one", "two")[:: int(sys.argv[2])]
]
failures = [type(future.exception(timeout=60)) for future in futures]
stores.close()
assert set(failures) <= {type(None), OverCapError}, failures
print(failures.count(type(None)))
"""


def test_a_cap_is_exact_over_several_processes(stores):
    """Each of them meets the two credentials in another order."""
    for name in ("one", "two"):
        stores.credentials.add(name, actor="ann")
    fronts = [
        subprocess.Popen(
            [sys.executable, "-c", _FRONT, url_of(stores), order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in ("1", "-1")
    ]
    assert [front.stdout.readline() for front in fronts] == ["ready\n"] * 2
    for front in fronts:
        front.stdin.write("\n")
        front.stdin.flush()
    accepted = [int(front.communicate(timeout=90)[0]) for front in fronts]
    assert sum(accepted) == 50  # of two recipients each: 50 of every credential
    assert rows(
        stores,
        "SELECT c.name, count(*) FROM recipients r JOIN credentials c ON c.id = r.credential_id GROUP BY c.name"
        " ORDER BY c.name",
    ) == [("one", 50), ("two", 50)]


def test_a_cap_is_exact_over_many_threads_and_connections(stores):
    others = [open_stores(Settings(database_url=url_of(stores), gate_timeout=timedelta(seconds=30))) for _ in range(2)]
    try:
        with ThreadPoolExecutor(12) as pool:
            outcomes = list(pool.map(lambda number: accepted(others[number % 2]), range(60)))
    finally:
        for other in others:
            other.close()
    assert outcomes.count(True) == 21
    assert rows(stores, "SELECT count(*) FROM recipients") == [(21,)]
    assert counted(stores) == [("day", 21), ("minute", 21)]


def accepted(stores):
    try:
        submit(stores, 1, Caps(25, 21))
    except OverCapError:
        return False
    return True
