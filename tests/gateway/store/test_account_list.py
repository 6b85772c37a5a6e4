from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from gateway.settings import Settings
from gateway.store import account_list
from gateway.store.account_list import SOURCE, AccountListing
from gateway.store.times import now_micros, to_micros
from gateway.subjects import parse_subject
from gateway.suppression_drift import AtSes, Listed, ListedReason
from gateway.suppression_policy import Policy, Reason
from tests.gateway.store.test_feedback_postgres import lifting
from tests.gateway.store.test_strikes import JANE
from tests.support.mail import change, rows
from tests.support.meeting import Held, waits_for_a_lock
from tests.support.waiting import until

NOW = datetime.now(UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def listing(stores):
    return AccountListing(stores.db, Policy.from_settings(Settings(suppress_bounce=timedelta(days=30))))


def add(stores, address, reason=Reason.BOUNCE, **fields):
    stores.suppressions.add(parse_subject(address), reason, source="test", detail="", actor="op", **fields)


def at_ses(address, reason=ListedReason.BOUNCE, at=NOW - WEEK):
    return AtSes(parse_subject(address).key, (Listed(address, reason, at),))


def expired(stores, address):
    add(stores, address, expires_at=NOW + WEEK)
    key = parse_subject(address).key
    change(stores, "UPDATE suppressions SET expires_at = ? WHERE address_key = ?", now_micros() - 1, key)


def test_everything_in_force_is_read_once_over_all_pages(stores, listing, monkeypatch):
    monkeypatch.setattr(account_list, "_PAGE", 2)
    for address in ("b@example.com", "A@example.com", "@example.org", "c_d@example.com", "z/x@example.com"):
        add(stores, address)
    add(stores, "a@example.com", scope="local")
    expired(stores, "old@example.com")
    entries = list(listing.entries())
    assert sorted((one.address, one.scope) for one in entries) == [
        ("@example.org", ""),
        ("A@example.com", ""),
        ("a@example.com", "local"),
        ("b@example.com", ""),
        ("c_d@example.com", ""),
        ("z/x@example.com", ""),
    ]
    assert {one.address for one in entries if one.is_domain} == {"@example.org"}


def test_the_reason_is_that_of_the_address_itself_for_everybody_and_in_force(stores, listing):
    add(stores, "jane@example.com", Reason.COMPLAINT)
    add(stores, "@example.org")
    add(stores, "one@example.com", scope="local")
    expired(stores, "old@example.com")
    assert listing.reason("jane@example.com") is Reason.COMPLAINT
    assert [listing.reason(key) for key in ("x@example.org", "one@example.com", "old@example.com")] == [None] * 3


def test_only_what_a_person_ended_for_everybody_was_lifted(stores, listing):
    for address in ("person@example.com", "standing@example.com"):
        add(stores, address)
    add(stores, "scoped@example.com", scope="local")
    add(stores, "replaced@example.com")
    add(stores, "replaced@example.com", Reason.COMPLAINT)
    expired(stores, "old@example.com")
    stores.suppressions.expire(10)
    stores.suppressions.remove(parse_subject("person@example.com"), why="works", actor="anna")
    stores.suppressions.remove(parse_subject("scoped@example.com"), why="works", actor="anna", scope="local")
    keys = [f"{name}@example.com" for name in ("person", "standing", "scoped", "replaced", "old")]
    lifted = listing.lifted(keys)
    assert set(lifted) == {"person@example.com"}
    assert abs(lifted["person@example.com"] - datetime.now(UTC)) < WEEK


def test_what_is_taken_over_has_the_spelling_the_date_and_an_end(stores, listing):
    assert listing.adopt([at_ses("Jane@example.com"), at_ses("max@example.com")], actor="anna") == 2
    (found,) = stores.suppressions.of(parse_subject("jane@example.com"))
    assert (found.address, found.reason, found.source, found.actor) == (
        "Jane@example.com",
        Reason.BOUNCE,
        SOURCE,
        "anna",
    )
    assert to_micros(found.since) == to_micros(NOW - WEEK)
    assert found.expires_at == found.since + timedelta(days=30)
    assert listing.adopt([at_ses("Jane@example.com")], actor="anna") == 0


def test_what_was_lifted_after_ses_listed_it_is_not_taken_over(stores, listing):
    add(stores, "jane@example.com")
    stores.suppressions.remove(parse_subject("jane@example.com"), why="works", actor="anna")
    assert listing.adopt([at_ses("jane@example.com")], actor="anna") == 0
    assert listing.adopt([at_ses("jane@example.com", at=NOW + WEEK)], actor="anna") == 1


def test_what_is_being_lifted_at_this_moment_is_not_taken_over_either(pair):
    """Where PostgreSQL lets both go on at once."""
    one, other = pair
    add(one, JANE)
    policy = one.notifications._policy
    held = Held(one, lifting)
    with ThreadPoolExecutor() as pool:
        adopted = pool.submit(AccountListing(other.db, policy).adopt, [at_ses(JANE)], actor="anna")
        until(lambda: waits_for_a_lock(one) or adopted.done())
        held.let_go()
        assert adopted.result(timeout=30) == 0
    assert rows(one, "SELECT address_key FROM suppressions") == []


def test_a_reason_outlives_what_the_settings_say(listing):
    month = timedelta(days=31)
    assert listing.outlived(Reason.BOUNCE, NOW - month)
    assert not listing.outlived(Reason.BOUNCE, NOW - WEEK)
    assert not listing.outlived(Reason.COMPLAINT, NOW - 100 * month)


@pytest.mark.parametrize(
    ("reason", "end", "is_temporary"),
    [
        (Reason.MANUAL, None, False),
        (Reason.MANUAL, NOW + WEEK, True),
        (Reason.COMPLAINT, NOW + WEEK, True),
        (Reason.BOUNCE, NOW + WEEK, True),
        (Reason.BOUNCE, NOW + timedelta(days=31), False),
    ],
)
def test_what_ends_sooner_than_its_reason_does_is_temporary(stores, listing, reason, end, is_temporary):
    add(stores, "a@example.com", reason, expires_at=end)
    assert [local.is_temporary for local in listing.entries()] == [is_temporary]
