from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.store import suppression_rows
from gateway.store.errors import StoreUnavailableError
from gateway.store.suppressions import UnknownScopeError
from gateway.store.times import from_micros
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.support.mail import change, rows

NOW = datetime.now(UTC)
TOMORROW = NOW + timedelta(days=1)
NEXT_WEEK = NOW + timedelta(days=7)
OLD_INSERT = "INSERT INTO suppressions (address_key, address, reason, source, detail, since) VALUES (?, ?, ?, ?, ?, ?)"


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


def put(stores, text, reason=Reason.MANUAL, **fields):
    return stores.suppressions.add(parse_subject(text), reason, source="test", detail="asked", actor="op", **fields)


def found(stores, address, credential=None):
    one = stores.suppressions.find(parse_mailbox(address), credential)
    return None if one is None else (one.address, one.reason, one.scope)


@pytest.fixture
def shop(stores):
    stores.credentials.add("shop", application="The shop", actor="op")


def test_the_strongest_of_address_domain_and_credential_is_found(stores, shop):
    put(stores, "@Example.com", Reason.BOUNCE)
    assert found(stores, "Bob@example.com") == ("@Example.com", Reason.BOUNCE, "")
    put(stores, "bob@example.com", Reason.MANUAL)
    assert found(stores, "bob@example.com") == ("bob@example.com", Reason.MANUAL, "")
    put(stores, "bob@example.com", Reason.UNSUBSCRIBE, scope="shop")
    put(stores, "@example.com", Reason.COMPLAINT, scope="shop")
    assert found(stores, "bob@example.com") == ("bob@example.com", Reason.MANUAL, "")
    assert found(stores, "bob@example.com", "news") == ("bob@example.com", Reason.MANUAL, "")
    assert found(stores, "bob@example.com", "shop") == ("@example.com", Reason.COMPLAINT, "shop")
    assert found(stores, "ann@example.com", "news") == ("@Example.com", Reason.BOUNCE, "")
    assert found(stores, "ann@sub.example.com", "shop") is None


@pytest.mark.parametrize("times", [0, 1, 2, 5, 17, 70])
def test_many_are_found_as_each_alone(stores, shop, times):
    put(stores, "@example.com", Reason.BOUNCE)
    put(stores, "bob@example.com", Reason.UNSUBSCRIBE, scope="shop")
    put(stores, "@example.org", Reason.COMPLAINT, scope="shop")
    put(stores, "old@example.net")
    change(stores, "UPDATE suppressions SET expires_at = 7 WHERE address = 'old@example.net'")
    addresses = ("Bob@example.com", "ann@example.com", "ann@example.org", "ann@example.net", "old@example.net")
    wanted = [(parse_mailbox(address), name) for address in addresses for name in ("shop", "news", None)] * times
    alone = [stores.suppressions.find(mailbox, credential) for mailbox, credential in wanted]
    assert stores.suppressions.find_all(wanted) == alone


def test_of_reasons_as_strong_the_one_about_the_address_is_told(stores, shop):
    for text, scope in (
        ("@example.com", ""),
        ("@example.com", "shop"),
        ("bob@example.com", ""),
        ("bob@example.com", "shop"),
    ):
        put(stores, text, scope=scope)
    assert found(stores, "bob@example.com", "shop") == ("bob@example.com", Reason.MANUAL, "shop")
    assert found(stores, "bob@example.com") == ("bob@example.com", Reason.MANUAL, "")


def test_an_address_with_an_empty_local_part_is_not_its_domain(stores):
    put(stores, '""@example.com', Reason.BOUNCE)
    assert found(stores, "bob@example.com") is None
    assert found(stores, '""@example.com') == ('""@example.com', Reason.BOUNCE, "")


def test_what_has_expired_refuses_nothing_and_anything_takes_its_place(stores):
    put(stores, "bob@example.com", Reason.COMPLAINT, expires_at=TOMORROW)
    assert found(stores, "bob@example.com") is not None
    change(stores, "UPDATE suppressions SET expires_at = 7")
    assert found(stores, "bob@example.com") is None
    assert stores.suppressions.remove(parse_subject("bob@example.com"), why="x", actor="op") is None
    assert put(stores, "bob@example.com", Reason.SOFT_BOUNCE)
    assert found(stores, "bob@example.com") == ("bob@example.com", Reason.SOFT_BOUNCE, "")
    (past,) = stores.suppressions.history(parse_subject("bob@example.com"))
    assert (past.suppression.reason, past.ended_by, past.ended_why) == (Reason.COMPLAINT, "", "expired")
    assert past.ended_at == from_micros(7)


def test_an_expired_one_behind_a_domain_in_force_does_not_hide_it(stores):
    put(stores, "bob@example.com", Reason.COMPLAINT)
    change(stores, "UPDATE suppressions SET expires_at = 7")
    put(stores, "@example.com", Reason.MANUAL)
    assert found(stores, "bob@example.com") == ("@example.com", Reason.MANUAL, "")


def test_a_replaced_reason_goes_to_the_history(stores):
    put(stores, "bob@example.com", Reason.BOUNCE, note="first")
    put(stores, "bob@example.com", Reason.COMPLAINT, note="then")
    (past,) = stores.suppressions.history(parse_subject("bob@example.com"))
    assert (past.suppression.reason, past.suppression.note, past.ended_why) == (
        Reason.BOUNCE,
        "first",
        "replaced by complaint",
    )
    (now,) = stores.suppressions.of(parse_subject("bob@example.com"))
    assert (now.reason, now.note) == (Reason.COMPLAINT, "then")


@pytest.mark.parametrize(
    ("first", "second", "changes", "end"),
    [
        (TOMORROW, NEXT_WEEK, True, NEXT_WEEK),
        (TOMORROW, None, True, None),
        (NEXT_WEEK, TOMORROW, False, NEXT_WEEK),
        (None, TOMORROW, False, None),
        (TOMORROW, TOMORROW, False, TOMORROW),
    ],
)
def test_the_same_reason_again_may_only_prolong(stores, first, second, changes, end):
    put(stores, "bob@example.com", expires_at=first, note="first")
    assert put(stores, "bob@example.com", expires_at=second, note="second") is changes
    (entry,) = stores.suppressions.of(parse_subject("bob@example.com"))
    assert (entry.expires_at, entry.note) == (end, "first")
    assert stores.suppressions.history(parse_subject("bob@example.com")) == []


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        (None, TOMORROW, None),
        (NEXT_WEEK, TOMORROW, NEXT_WEEK),
        (TOMORROW, NEXT_WEEK, NEXT_WEEK),
        (TOMORROW, None, None),
    ],
)
def test_a_stronger_reason_never_ends_sooner_than_the_weaker_one_would_have(stores, first, second, end):
    put(stores, "bob@example.com", Reason.BOUNCE, expires_at=first)
    assert put(stores, "bob@example.com", Reason.MANUAL, expires_at=second)
    assert stores.suppressions.list()[0].expires_at == end


def test_what_is_over_before_it_begins_changes_nothing(stores):
    assert not put(stores, "bob@example.com", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert rows(stores, "SELECT 1 FROM suppressions") == []


def test_every_scope_of_a_subject_is_told_and_lifted_by_itself(stores, shop):
    bob = parse_subject("bob@example.com")
    for text, scope in (
        ("bob@example.com", ""),
        ("bob@example.com", "shop"),
        ("bob@example.com.test", ""),
        ("@example.com", ""),
    ):
        put(stores, text, scope=scope)
    assert [one.key for one in stores.suppressions.of(bob)] == ["bob@example.com", "bob@example.com/shop"]
    assert [one.key for one in stores.suppressions.of(parse_subject("example.com"))] == ["@example.com"]
    lifted = stores.suppressions.remove(bob, scope="shop", why="wants it", actor="alice")
    assert (lifted.reason, lifted.scope) == (Reason.MANUAL, "shop")
    assert [one.key for one in stores.suppressions.of(bob)] == ["bob@example.com"]
    (past,) = stores.suppressions.history(bob)
    assert (past.suppression.scope, past.ended_by, past.ended_why) == ("shop", "alice", "wants it")
    assert rows(stores, "SELECT subject, detail FROM audit WHERE action = 'suppressions.remove'") == [
        ("bob@example.com", f"was manual for shop since {lifted.since:%Y-%m-%d}; wants it")
    ]


def test_a_scope_must_be_a_credential(stores):
    with pytest.raises(UnknownScopeError, match="There is no credential shop"):
        put(stores, "bob@example.com", scope="shop")


@pytest.mark.parametrize("why", ["", " \n"])
def test_lifting_needs_a_reason(stores, why):
    put(stores, "bob@example.com")
    with pytest.raises(ValueError, match="without a reason"):
        stores.suppressions.remove(parse_subject("bob@example.com"), why=why, actor="op")
    assert found(stores, "bob@example.com") is not None


def test_only_a_persons_lifting_counts_as_one(stores):
    def last_lifted():
        with stores.db.read() as sql:
            return suppression_rows.last_lifted(sql, "bob@example.com")

    put(stores, "bob@example.com", Reason.SOFT_BOUNCE)
    put(stores, "bob@example.com", Reason.BOUNCE)
    assert last_lifted() is None
    stores.db.write(
        lambda sql: suppression_rows.lift(sql, "bob@example.com", at=5, by=suppression_rows.SES, why="delivered")
    )
    assert last_lifted() is None
    put(stores, "bob@example.com")
    stores.suppressions.remove(parse_subject("bob@example.com"), why="works again", actor="alice")
    assert from_micros(last_lifted()) == stores.suppressions.history(parse_subject("bob@example.com"))[-1].ended_at


def test_expired_ones_are_put_away_some_at_a_time_and_without_them_nothing_is_written(stores, monkeypatch):
    for name in "abc":
        put(stores, f"{name}@example.com", expires_at=TOMORROW)
    put(stores, "d@example.com")
    change(stores, "UPDATE suppressions SET expires_at = 7 WHERE expires_at IS NOT NULL")
    assert [stores.suppressions.expire(2), stores.suppressions.expire(2)] == [2, 1]
    monkeypatch.setattr(stores.db, "write", lambda _work: pytest.fail("nothing is due"))
    assert stores.suppressions.expire(2) == 0
    assert [one.address for one in stores.suppressions.list()] == ["d@example.com"]
    assert rows(stores, "SELECT count(*), min(ended_at), max(ended_why) FROM suppression_history") == [
        (3, 7, "expired")
    ]


def test_a_list_may_be_of_one_scope_or_of_what_has_expired(stores, shop):
    put(stores, "a@example.com", scope="shop")
    put(stores, "b@example.com")
    put(stores, "c@example.com", expires_at=TOMORROW)
    change(stores, "UPDATE suppressions SET expires_at = 7 WHERE expires_at IS NOT NULL")

    def listed(**fields):
        return [one.address[0] for one in stores.suppressions.list(**fields)]

    assert (listed(), listed(scope="shop"), listed(scope=""), listed(expired=True)) == (["a", "b"], ["a"], ["b"], ["c"])


def test_rows_of_older_programs_read_well_and_can_be_changed(stores):
    for name in "ab":
        change(
            stores, OLD_INSERT, f"{name}@example.com", f"{name.upper()}@example.com", "bounce", "SES Bounce", "550", 7
        )
    one = stores.suppressions.find(parse_mailbox("a@example.com"), "local")
    assert (one.scope, one.note, one.actor, one.created_at, one.expires_at, one.event_id) == (
        "",
        "",
        "",
        None,
        None,
        None,
    )
    assert put(stores, "a@example.com", Reason.COMPLAINT)
    assert stores.suppressions.remove(parse_subject("b@example.com"), why="works", actor="op").since == from_micros(7)
    pasts = [stores.suppressions.history(parse_subject(f"{name}@example.com"))[0] for name in "ab"]
    assert [(past.suppression.detail, past.suppression.created_at) for past in pasts] == [("550", None)] * 2


def test_a_suppression_that_is_lifted_while_another_is_made_is_made_anew(stores):
    """Between the insert that finds it and the look at it. Only PostgreSQL can have it happen."""
    put(stores, "bob@example.com")

    def work(sql):
        run = sql.run

        def lifted_meanwhile(statement, values=()):
            changed = run(statement, values)
            if statement.startswith("INSERT INTO suppressions ") and not changed:
                run("DELETE FROM suppressions")
            return changed

        sql.run = lifted_meanwhile
        return suppression_rows.suppress(
            sql, "bob@example.com", "bob@example.com", Reason.BOUNCE, source="", detail="", at=7
        )

    assert stores.db.write(work) is True
    assert found(stores, "bob@example.com") == ("bob@example.com", Reason.BOUNCE, "")


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
    with pytest.raises(StoreUnavailableError):
        stores.suppressions.find_all([(parse_mailbox("bob@example.com"), None)])
