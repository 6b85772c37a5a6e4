from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from gateway.credentials import CredentialError
from gateway.store import credential_rows
from gateway.store import credentials as module
from gateway.store.errors import NotEnabledError, StoreError
from gateway.store.times import now_micros, span
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.support.mail import FACTS, accept, change, claimed, envelope, rows

HOUR = timedelta(hours=1)


def now():
    return datetime.now(UTC)


def networks(*texts):
    return tuple(map(ip_network, texts))


def later(monkeypatch, passed):
    """The clock of the store, moved."""
    for one in (module, credential_rows):
        monkeypatch.setattr(one, "now_micros", lambda: now_micros() + span(passed))


def audited(stores):
    return rows(stores, "SELECT actor, action, subject, detail FROM audit ORDER BY id")


def test_local_is_there_from_the_beginning_and_has_the_networks_of_the_setting(stores):
    (local,) = stores.credentials.all()
    assert (local.name, local.application, local.enabled, local.secrets) == ("local", "local", True, ())
    assert local.networks == networks("127.0.0.0/8", "::1/128")
    assert local.caps is None


def test_a_credential_is_kept_with_all_its_terms(stores):
    secret = stores.credentials.add(
        "shop",
        actor="ann",
        application="Web shop",
        networks=networks("10.1.0.0/16", "2001:db8::/64"),
        senders=("Shop@X.org", ".y.org"),
        max_message_bytes=10_000,
        per_minute=60,
        per_day=1000,
        configuration_set="shop-set",
        tags=(("team", "shop"),),
        suppressed_recipients="drop",
    )
    found = stores.credentials.find("shop")
    assert found == stores.credentials.all()[1]
    assert found.matching(secret, now()) == found.secrets[0]
    assert (found.application, found.enabled) == ("Web shop", True)
    assert found.networks == networks("10.1.0.0/16", "2001:db8::/64")
    assert found.senders == ("shop@x.org", ".y.org")
    assert (found.max_message_bytes, found.per_minute, found.per_day) == (10_000, 60, 1000)
    assert (found.configuration_set, found.tags) == ("shop-set", (("team", "shop"),))
    assert found.suppressed_recipients == "drop"
    assert stores.credentials.find("SHOP") is None


def test_the_id_of_a_secret_is_never_given_out_again(stores):
    stores.credentials.add("shop", actor="ann")
    first = stores.credentials.find("shop").secrets[0].id
    stores.credentials.remove("shop", actor="ann")
    stores.credentials.add("shop", actor="ann")
    assert stores.credentials.find("shop").secrets[0].id != first


def test_no_secret_is_kept_anywhere(stores):
    secrets = [
        stores.credentials.add("shop", actor="ann"),
        stores.credentials.rotate("shop", overlap=HOUR, actor="ann"),
    ]
    for table in ("credentials", "credential_secrets", "audit"):
        text = repr(rows(stores, f"SELECT * FROM {table}"))
        assert not any(secret in text for secret in secrets)
    assert "digest" not in repr(audited(stores))


def test_machines_that_cannot_authenticate_need_no_secret(stores):
    assert stores.credentials.add("scanner", actor="ann", secret=False, networks=networks("10.1.2.3/32")) == ""
    assert stores.credentials.find("scanner").secrets == ()
    with pytest.raises(CredentialError, match="a secret, or networks, or both"):
        stores.credentials.add("nothing", actor="ann", secret=False)


@pytest.mark.parametrize("name", ["shop", "Shop", "SHOP"])
def test_a_name_is_taken_in_any_case(stores, name):
    stores.credentials.add("shop", actor="ann")
    with pytest.raises(StoreError, match="There is a credential 'shop' already"):
        stores.credentials.add(name, actor="ann")


def test_a_malformed_name_is_refused(stores):
    with pytest.raises(CredentialError, match="no name of a credential"):
        stores.credentials.add("a b", actor="ann")


# Networks


def test_no_two_enabled_credentials_have_one_network(stores):
    stores.credentials.add("one", actor="ann", networks=networks("10.1.0.0/16"))
    stores.credentials.add("within", actor="ann", networks=networks("10.1.2.0/24"))
    with pytest.raises(StoreError, match=r"10\.1\.0\.0/16 belongs to one"):
        stores.credentials.add("two", actor="ann", networks=networks("10.1.0.0/16"))
    assert stores.credentials.find("two") is None
    with pytest.raises(StoreError, match=r"127\.0\.0\.0/8 belongs to local"):
        stores.credentials.change("one", actor="ann", networks=networks("127.0.0.0/8"))
    assert stores.credentials.find("one").networks == networks("10.1.0.0/16")


def test_a_network_can_go_to_another_while_its_owner_is_disabled(stores):
    stores.credentials.add("one", actor="ann", networks=networks("10.1.0.0/16"))
    stores.credentials.disable("one", actor="ann")
    stores.credentials.add("two", actor="ann", networks=networks("10.1.0.0/16"))
    with pytest.raises(StoreError, match="belongs to two"):
        stores.credentials.enable("one", actor="ann")
    assert not stores.credentials.find("one").enabled


# Changing


def test_a_change_leaves_what_it_does_not_name(stores):
    secret = stores.credentials.add("shop", actor="ann", per_day=10, senders=("x.org",), tags=(("a", "b"),))
    changed = stores.credentials.change("shop", actor="bob", per_day=20, tags=())
    assert changed == stores.credentials.find("shop")
    assert (changed.per_day, changed.senders, changed.tags) == (20, ("x.org",), ())
    assert changed.matching(secret, now())
    assert audited(stores)[-1] == ("bob", "credentials.change", "shop", "per_day: 10 -> 20; tags: a=b -> none")


def test_a_limit_can_be_taken_away(stores):
    stores.credentials.add("shop", actor="ann", per_day=10, configuration_set="set")
    changed = stores.credentials.change("shop", actor="ann", per_day=None, configuration_set=None)
    assert (changed.per_day, changed.configuration_set) == (None, None)


def test_the_last_way_in_is_not_taken_away_by_a_change(stores):
    stores.credentials.add("scanner", actor="ann", secret=False, networks=networks("10.1.2.3/32"))
    with pytest.raises(StoreError, match="nobody could send under it"):
        stores.credentials.change("scanner", actor="ann", networks=())
    assert stores.credentials.find("scanner").networks


def test_local_can_be_limited_and_disabled_and_no_more(stores):
    assert stores.credentials.change("local", actor="ann", per_day=10, senders=("x.org",)).per_day == 10
    with pytest.raises(StoreError, match="SESGATE_TRUSTED_NETWORKS"):
        stores.credentials.change("local", actor="ann", networks=networks("10.0.0.0/8"))
    with pytest.raises(StoreError, match="has no secrets"):
        stores.credentials.rotate("local", overlap=HOUR, actor="ann")
    with pytest.raises(StoreError, match="built in"):
        stores.credentials.remove("local", actor="ann")
    assert stores.credentials.disable("local", actor="ann")
    assert not stores.credentials.find("local").enabled


@pytest.mark.parametrize(
    "work",
    [
        lambda store: store.change("nobody", actor="ann", per_day=1),
        lambda store: store.rotate("nobody", overlap=HOUR, actor="ann"),
        lambda store: store.finish_rotation("nobody", actor="ann"),
        lambda store: store.disable("nobody", actor="ann"),
        lambda store: store.enable("nobody", actor="ann"),
        lambda store: store.remove("nobody", actor="ann"),
    ],
)
def test_what_is_not_there_cannot_be_changed(stores, work):
    with pytest.raises(StoreError, match="no credential 'nobody'"):
        work(stores.credentials)
    assert audited(stores) == []


# Rotation


def test_two_secrets_are_good_until_the_overlap_is_over(stores):
    old = stores.credentials.add("shop", actor="ann")
    new = stores.credentials.rotate("shop", overlap=HOUR, actor="ann")
    found = stores.credentials.find("shop")
    assert found.matching(old, now()).expires_at is not None
    assert found.matching(new, now()).expires_at is None
    assert found.matching(old, now() + HOUR) is None
    assert found.matching(new, now() + HOUR) is not None


def test_a_third_secret_is_refused_until_the_first_has_ended(stores, monkeypatch):
    stores.credentials.add("shop", actor="ann")
    second = stores.credentials.rotate("shop", overlap=HOUR, actor="ann")
    with pytest.raises(StoreError, match="rotate shop --finish"):
        stores.credentials.rotate("shop", overlap=HOUR, actor="ann")
    later(monkeypatch, 2 * HOUR)
    third = stores.credentials.rotate("shop", overlap=HOUR, actor="ann")
    found = stores.credentials.find("shop")
    assert [bool(found.matching(one, now())) for one in (second, third)] == [True, True]
    assert len(found.secrets) == 2


def test_a_rotation_is_finished_at_once(stores):
    old = stores.credentials.add("shop", actor="ann")
    assert not stores.credentials.finish_rotation("shop", actor="ann")
    new = stores.credentials.rotate("shop", overlap=HOUR, actor="ann")
    assert stores.credentials.finish_rotation("shop", actor="ann")
    found = stores.credentials.find("shop")
    assert found.matching(old, now()) is None
    assert found.matching(new, now()) is not None
    assert [action for _, action, _, _ in audited(stores)] == [
        "credentials.add",
        "credentials.rotate",
        "credentials.finish",
    ]


def test_without_an_overlap_the_old_secret_ends_now(stores):
    old = stores.credentials.add("shop", actor="ann")
    stores.credentials.rotate("shop", overlap=timedelta(0), actor="ann")
    assert stores.credentials.find("shop").matching(old, now()) is None


# Disabling and removing


def test_nothing_more_is_accepted_under_a_disabled_credential_and_what_was_still_goes_out(stores):
    stores.credentials.add("shop", actor="ann", configuration_set="shop-set", tags=(("team", "shop"),))
    (id_,) = accept(stores, credential="shop")
    assert stores.credentials.disable("shop", actor="ann")
    assert not stores.credentials.disable("shop", actor="ann")
    with pytest.raises(NotEnabledError, match="'shop' is disabled"):
        accept(stores, credential="shop")
    claim = claimed(stores, id_)
    assert (claim.configuration_set, claim.tags) == ("shop-set", (("team", "shop"),))
    assert stores.credentials.enable("shop", actor="ann")
    assert not stores.credentials.enable("shop", actor="ann")
    accept(stores, credential="shop")
    assert [action for _, action, _, _ in audited(stores)][1:] == ["credentials.disable", "credentials.enable"]


def test_mail_of_a_credential_without_a_set_and_tags_has_none(stores):
    (id_,) = accept(stores)
    claim = claimed(stores, id_)
    assert (claim.configuration_set, claim.tags) == (None, ())


def test_a_credential_goes_only_without_mail(stores):
    stores.credentials.add("shop", actor="ann", networks=networks("10.0.0.0/8"), per_day=5)
    stores.credentials.add("unused", actor="ann", networks=networks("10.1.0.0/16"))
    accept(stores, credential="shop")
    with pytest.raises(StoreError, match="Mail of shop is still kept"):
        stores.credentials.remove("shop", actor="ann")
    stores.credentials.remove("unused", actor="ann")
    assert [one.name for one in stores.credentials.all()] == ["local", "shop"]
    assert rows(stores, "SELECT network FROM credential_networks") == [("10.0.0.0/8",)]
    assert rows(stores, "SELECT count(*) FROM credential_secrets") == [(1,)]
    with pytest.raises(NotEnabledError, match="'unused' is not there any more"):
        stores.messages.submit(envelope(credential="unused"), FACTS).result(timeout=30)


def test_a_held_credential_stays_held_whatever_is_switched(stores):
    stores.credentials.add("shop", actor="ann")
    stores.reputation.hold("shop", "too many bounces", actor="ann")
    stores.credentials.disable("shop", actor="ann")
    stores.credentials.enable("shop", actor="ann")
    stores.credentials.change("shop", actor="ann", per_day=5)
    (_, standing) = stores.credentials.standings()
    assert standing.held_at is not None
    assert standing.held_reason == "too many bounces"
    assert standing.credential.enabled


# Use


def test_the_last_use_is_noted_once_a_minute(stores):
    stores.credentials.add("shop", actor="ann")
    (secret,) = stores.credentials.find("shop").secrets
    first = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    for seconds in (0, 30, 59):
        stores.credentials.used([secret.id], first + timedelta(seconds=seconds), names=["shop", "local"])
    assert noted(stores) == [first, first, first]
    stores.credentials.used([secret.id, 4711], first + timedelta(seconds=60))
    assert noted(stores) == [first + timedelta(seconds=60), first, first]


def noted(stores):
    """Of the secret, of local and of shop; after all that was begun."""
    stores.db.write(lambda sql: None)
    (secret,) = stores.credentials.find("shop").secrets
    local, shop = stores.credentials.standings()
    assert shop.last_used_at == max(secret.last_used_at, rows_of_use(stores)["shop"])
    return [secret.last_used_at, local.last_used_at, rows_of_use(stores)["shop"]]


def rows_of_use(stores):
    return {
        name: credential_rows.moment_of(at) for name, at in rows(stores, "SELECT name, last_used_at FROM credentials")
    }


def test_another_process_does_not_note_the_same_minute_again(stores):
    stores.credentials.add("shop", actor="ann")
    at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    stores.credentials.used([], at, names=["shop"])
    other = module.Credentials(stores.db, ())
    other.used([], at + timedelta(seconds=30), names=["shop"])
    stores.db.write(lambda sql: None)
    assert rows_of_use(stores)["shop"] == at


def test_a_credential_of_the_release_before_has_defaults(stores):
    change(stores, "INSERT INTO credentials (name, created_at) VALUES ('old', 1)")
    found = stores.credentials.find("old")
    assert (found.application, found.senders, found.tags, found.caps) == ("old", (), (), None)


def test_what_is_suppressed_for_a_credential_ends_with_it(stores, monkeypatch):
    monkeypatch.setattr(module, "_ENDED_AT_ONCE", 2)
    for name in ("shop", "news"):
        stores.credentials.add(name, application=name, actor="jane")
    subjects = [parse_subject(f"{name}@example.com") for name in "abcde"]
    for subject in subjects:
        for scope in ("", "shop", "news"):
            stores.suppressions.add(subject, Reason.MANUAL, source="", detail="", actor="jane", scope=scope)
    stores.credentials.remove("shop", actor="alice")
    assert stores.credentials.find("shop") is None
    assert {one.scope for one in stores.suppressions.list()} == {"", "news"}
    for subject in subjects:
        (past,) = stores.suppressions.history(subject)
        assert (past.suppression.scope, past.ended_by, past.ended_why) == (
            "shop",
            "alice",
            "the credential shop was removed",
        )


def test_a_credential_that_cannot_be_removed_keeps_what_is_suppressed_for_it(stores):
    stores.credentials.add("shop", application="shop", actor="jane")
    accept(stores, credential="shop")
    stores.suppressions.add(
        parse_subject("a@example.com"), Reason.MANUAL, source="", detail="", actor="jane", scope="shop"
    )
    with pytest.raises(StoreError, match="is still kept"):
        stores.credentials.remove("shop", actor="jane")
    assert len(stores.suppressions.list()) == 1
