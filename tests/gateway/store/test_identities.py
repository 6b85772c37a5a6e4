from __future__ import annotations

import pytest

from gateway.preflight import as_fact
from gateway.store.control import IDENTITIES, Control
from gateway.store.errors import StoreUnavailableError
from gateway.store.identities import KnownIdentities

SQLITE_ONLY = True  # it is the control store's, which has its own tests on both


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def known(stores, clock):
    return KnownIdentities(stores.db, wall=clock, clock=clock)


def put(stores, clock, *names):
    stores.control.put(IDENTITIES, as_fact(names, others=0, region="eu-west-1", at=clock.now))


def test_nothing_is_known_before_the_first_list(known):
    assert not known.is_fresh
    assert known.get() is None
    assert known.is_fresh
    assert known.last is None


def test_the_list_is_read_anew_after_some_seconds(stores, clock, known):
    put(stores, clock, "example.com")
    assert known.get().verified == {"example.com"}
    put(stores, clock, "example.com", "example.net")
    assert known.get().verified == {"example.com"}
    clock.now += 5.0
    assert not known.is_fresh
    assert known.get().verified == {"example.com", "example.net"}
    assert known.last is known.get()


def test_the_simulation_sends_from_everywhere_until_it_has_an_identity(stores, clock, known):
    put(stores, clock)
    assert known.get() is None


def test_a_database_that_is_away_leaves_what_was_known_until_it_is_stale(stores, clock, known, monkeypatch):
    put(stores, clock, "example.com")
    assert known.get() is not None

    def away(*_):
        raise StoreUnavailableError("away")

    monkeypatch.setattr(Control, "get", away)
    clock.now += 100.0
    assert known.get() is not None
    clock.now += 300.0
    assert known.get() is None
