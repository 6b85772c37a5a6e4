from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.store.errors import StoreUnavailableError
from gateway.suppression_policy import Reason
from tests.support.mail import rows


def add(stores, address, reason=Reason.MANUAL):
    return stores.suppressions.add(parse_mailbox(address), reason, source="test", detail="asked", actor="op")


def test_an_address_is_found_whichever_way_it_is_spelled(stores):
    assert add(stores, "Bob@Example.COM")
    found = stores.suppressions.find(parse_mailbox("bOB@example.com"))
    assert (found.address, found.reason, found.source, found.detail) == (
        "Bob@Example.COM",
        Reason.MANUAL,
        "test",
        "asked",
    )
    assert abs(found.since - datetime.now(UTC)) < timedelta(minutes=5)
    assert stores.suppressions.find(parse_mailbox("alice@example.com")) is None


@pytest.mark.parametrize("spelling", ['"bob"@example.com', '"b\\ob"@example.com'])
def test_a_quoted_spelling_of_a_suppressed_mailbox_is_suppressed(stores, spelling):
    add(stores, "bob@example.com")
    assert stores.suppressions.find(parse_mailbox(spelling)) is not None


def test_a_weaker_reason_changes_nothing_and_a_stronger_one_does(stores):
    assert add(stores, "bob@example.com", Reason.UNSUBSCRIBE)
    assert not add(stores, "bob@example.com", Reason.BOUNCE)
    assert not add(stores, "bob@example.com", Reason.UNSUBSCRIBE)
    assert add(stores, "bob@example.com", Reason.COMPLAINT)
    assert stores.suppressions.find(parse_mailbox("bob@example.com")).reason is Reason.COMPLAINT


def test_a_removed_suppression_is_gone_and_the_trail_says_who(stores):
    add(stores, "bob@example.com")
    assert stores.suppressions.remove(parse_mailbox("BOB@example.com"), actor="alice", why="x")
    assert stores.suppressions.remove(parse_mailbox("bob@example.com"), actor="alice", why="x") is None
    assert stores.suppressions.find(parse_mailbox("bob@example.com")) is None
    assert rows(stores, "SELECT actor, action, subject FROM audit ORDER BY id") == [
        ("op", "suppressions.add", "bob@example.com"),
        ("alice", "suppressions.remove", "bob@example.com"),
    ]


def test_a_change_that_changes_nothing_leaves_no_trail(stores):
    add(stores, "bob@example.com", Reason.COMPLAINT)
    add(stores, "bob@example.com")
    assert len(rows(stores, "SELECT 1 FROM audit")) == 1


def test_listing_goes_on_behind_the_last_one(stores):
    for name in ("c", "a", "b"):
        add(stores, f"{name}@example.com", Reason.BOUNCE if name == "b" else Reason.MANUAL)
    first = stores.suppressions.list(limit=2)
    assert [one.address for one in first] == ["a@example.com", "b@example.com"]
    assert [one.address for one in stores.suppressions.list(after="b@example.com")] == ["c@example.com"]
    assert [one.address for one in stores.suppressions.list(reason=Reason.BOUNCE)] == ["b@example.com"]


def test_a_look_up_that_fails_is_not_an_answer(stores):
    add(stores, "bob@example.com")
    stores.db.write(lambda sql: sql.run("ALTER TABLE suppressions RENAME TO elsewhere"))
    with pytest.raises(StoreUnavailableError):
        stores.suppressions.find(parse_mailbox("bob@example.com"))
