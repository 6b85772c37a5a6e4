from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from gateway.credentials import (
    DAY,
    MAX_TAGS,
    MINUTE,
    Caps,
    Credential,
    CredentialError,
    Secret,
    by_network,
    check_name,
    checked,
    digest_of,
    free_at,
    make_secret,
    network,
    sender_rule,
    tag,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def credential(name="shop", *, networks=(), **fields):
    return Credential(name=name, application=name, networks=tuple(map(ip_network, networks)), **fields)


def secret(text, id_=1, expires_at=None):
    return Secret(id_, digest_of(text), NOW, expires_at, None)


# Senders


@pytest.mark.parametrize(
    ("rules", "address", "allowed"),
    [
        ((), "anybody@anywhere.example", True),
        (("app@x.org",), "app@x.org", True),
        (("app@x.org",), "App@X.ORG", True),
        (("app@x.org",), '"app"@x.org', True),
        (("app@x.org",), "app@x.org.", True),
        (("app@x.org",), "app@y.org", False),
        (("app@x.org",), "app+tag@x.org", False),
        (("x.org",), "anybody@x.org", True),
        (("x.org",), "anybody@X.Org", True),
        (("x.org",), "anybody@sub.x.org", False),
        (("x.org",), "anybody@badx.org", False),
        (("x.org",), "x.org@evil.example", False),
        (("x.org",), '"a@x.org"@evil.example', False),
        ((".x.org",), "anybody@x.org", True),
        ((".x.org",), "anybody@sub.x.org", True),
        ((".x.org",), "anybody@a.b.x.org", True),
        ((".x.org",), "anybody@badx.org", False),
        ((".x.org",), "anybody@x.org.evil.example", False),
        (("bücher.example",), "a@xn--bcher-kva.example", True),
        (("xn--bcher-kva.example",), "a@bücher.example", True),
        (("a@y.org", "x.org"), "b@x.org", True),
        (("x.org",), "", False),
        (("x.org",), "x.org", False),
        (("x.org",), "@x.org", False),
        (("x.org",), "ceo@victim.com@x.org", False),
        (("x.org",), "ceo@victim.com\x01@x.org", False),
        (("x.org",), "ceo@victim.com app@x.org", False),
        (("x.org",), '"ceo@victim.com"@x.org', False),
        (("x.org",), '"the shop"@x.org', True),
        (("x.org",), "=?utf-8?q?ceo=40victim.com?=@x.org", False),
    ],
)
def test_a_sender_is_allowed_by_any_of_the_rules(rules, address, allowed):
    assert credential(senders=tuple(map(sender_rule, rules))).allows_sender(address) is allowed


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("App@X.org", "app@x.org"),
        (" x.ORG. ", "x.org"),
        (".X.org", ".x.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        (".bücher.example", ".xn--bcher-kva.example"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ('"app"@x.org', "app@x.org"),
    ],
)
def test_a_rule_is_kept_as_it_is_compared(typed, kept):
    assert sender_rule(typed) == kept
    assert sender_rule(kept) == kept


@pytest.mark.parametrize(
    "typed", ["", " ", "@x.org", "a@", "*.x.org", "..x.org", "a@.x.org", "a b@x.org", "x org", "."]
)
def test_what_is_no_sender_says_how_to_write_one(typed):
    with pytest.raises(CredentialError, match=r"is no sender: .*\. Write app@example\.com for one address"):
        sender_rule(typed)


# Networks


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("10.1.2.3", "machine"),
        ("10.1.2.4", "subnet"),
        ("10.1.3.1", "site"),
        ("::ffff:10.1.2.3", "machine"),
        ("192.0.2.1", None),
        ("2001:db8::1", "six"),
        ("10.1.4.1", "site"),
    ],
)
def test_the_narrowest_network_of_an_enabled_credential_owns_an_address(address, owner):
    credentials = [
        credential("site", networks=["10.0.0.0/8"]),
        credential("machine", networks=["10.1.2.3/32"]),
        credential("subnet", networks=["172.16.0.0/12", "10.1.2.0/24"]),
        credential("off", networks=["10.1.4.0/24"], enabled=False),
        credential("six", networks=["2001:db8::/32"]),
    ]
    found = by_network(credentials, ip_address(address))
    assert (found and found.name) == owner


def test_of_two_with_one_network_it_is_never_the_built_in_one():
    both = [credential("local", networks=["10.0.0.0/8"]), credential("app", networks=["10.0.0.0/8"])]
    assert by_network(both, ip_address("10.0.0.1")).name == "app"
    assert by_network(both[::-1], ip_address("10.0.0.1")).name == "app"


@pytest.mark.parametrize("typed", ["10.0.0.1/8", "10.0.0", "example.org", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(typed):
    with pytest.raises(CredentialError, match="is no network"):
        network(typed)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [("0.0.0.0/0", "open relay"), ("::/0", "open relay"), ("::ffff:10.0.0.0/104", "write those as an IPv4 network")],
)
def test_a_network_that_nobody_means_is_refused(typed, reason):
    with pytest.raises(CredentialError, match=reason):
        checked({"networks": [network(typed)]})


# Secrets


def test_a_secret_has_256_bits_and_is_told_by_its_digest_alone():
    made = {make_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(one.startswith("sg_") and len(one) == 46 and one.isascii() for one in made)
    assert len(digest_of(made.pop())) == 32


@pytest.mark.parametrize(
    ("password", "found"),
    [("one", 1), ("two", 2), ("three", None), ("", None), ("ONE", None), ("one ", None), ("ü\ud800", None)],
)
def test_any_live_secret_lets_a_client_in_and_an_expired_one_does_not(password, found):
    secrets = (
        secret("one", 1, NOW + timedelta(seconds=1)),
        secret("two", 2),
        secret("three", 3, NOW),
    )
    match = credential(secrets=secrets).matching(password, NOW)
    assert (match and match.id) == found


def test_a_disabled_credential_and_one_without_secrets_let_nobody_in():
    assert credential(secrets=(secret("one"),), enabled=False).matching("one", NOW) is None
    assert credential().matching("", NOW) is None


def test_every_secret_is_compared_whatever_the_first_one_says(monkeypatch):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: bool(compared.append(a)) or a == b)
    assert credential(secrets=(secret("one", 1), secret("two", 2))).matching("one", NOW).id == 1
    assert compared == [digest_of("one"), digest_of("two")]


# Names, tags and numbers


@pytest.mark.parametrize("name", ["shop", "shop.prod_2-a", "A" * 64])
def test_a_name_can_be_typed_as_a_user_name(name):
    check_name(name)


@pytest.mark.parametrize("name", ["", "a b", "shöp", "a@b", "A" * 65, "a\n"])
def test_another_name_is_refused(name):
    with pytest.raises(CredentialError, match="is no name of a credential"):
        check_name(name)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ([("a b", "c")], "cannot be sent to SES"),
        ([("a", "ü")], "cannot be sent to SES"),
        ([("a", "")], "cannot be sent to SES"),
        ([("a", "b" * 257)], "cannot be sent to SES"),
        ([("ses:x", "b")], "cannot be sent to SES"),
        ([("sesgate-attempt", "b")], "gateway's own"),
        ([("a", "b"), ("a", "c")], "only once"),
        ([(f"t{number}", "x") for number in range(MAX_TAGS + 1)], "50 tags are too many"),
    ],
)
def test_tags_that_ses_would_not_take_are_refused(tags, reason):
    with pytest.raises(CredentialError, match=reason):
        checked({"tags": tags})


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"per_minute": 0}, "cap per minute"),
        ({"per_day": -1}, "cap per day"),
        ({"per_day": 2**31}, "cap per day"),
        ({"max_message_bytes": 0}, "no use as a size"),
        ({"configuration_set": "a b"}, "no name of a configuration set"),
        ({"application": " "}, "printable"),
        ({"application": "a\x1b[1m"}, "printable"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms, reason):
    with pytest.raises(CredentialError, match=reason):
        checked(terms)


def test_terms_that_make_sense_are_kept_once_each():
    kept = checked(
        {
            "networks": [ip_network("10.0.0.0/8"), ip_network("10.0.0.0/8")],
            "senders": ["X.org", "x.org"],
            "tags": [tag("team=shop")],
            "per_day": None,
        }
    )
    assert kept == {
        "networks": (ip_network("10.0.0.0/8"),),
        "senders": ("x.org",),
        "tags": (("team", "shop"),),
        "per_day": None,
    }


def test_what_is_no_tag_says_how_to_write_one():
    with pytest.raises(CredentialError, match="write name=value"):
        tag("team")


# Caps


@pytest.mark.parametrize(
    ("caps", "largest"), [(Caps(None, 5), 5), (Caps(3, None), 3), (Caps(3, 5), 3), (Caps(7, 5), 5)]
)
def test_the_largest_message_fits_the_smaller_cap(caps, largest):
    assert caps.largest_message == largest


def test_without_a_cap_nothing_has_to_be_counted():
    assert credential().caps is None
    assert credential(per_day=5).caps == Caps(None, 5)


@pytest.mark.parametrize(
    ("wanted", "cap", "free"),
    [
        (1, 10, timedelta(hours=-20)),
        (5, 10, timedelta(hours=-20)),
        (6, 10, timedelta(hours=-2)),
        (10, 10, timedelta(hours=-1)),
        (11, 10, None),
    ],
)
def test_room_comes_back_as_the_oldest_steps_leave_the_period(wanted, cap, free):
    used = [(NOW + timedelta(hours=hours), number) for hours, number in ((-20, 5), (-2, 4), (-1, 1))]
    expected = None if free is None else NOW + free + timedelta(hours=24, minutes=15)
    assert free_at(used, wanted, cap, DAY) == expected


def test_a_minute_is_counted_in_steps_of_five_seconds():
    assert free_at([(NOW, 1)], 1, 1, MINUTE) == NOW + timedelta(seconds=65)
