from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from gateway.senders import sender_addresses
from gateway.settings import Settings, read_settings
from gateway.smtp.policy import author_refusal, client_address, client_key, is_within, relay_warning
from tests.gateway.smtp.admitting import credential

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.0.2.1", 25), "192.0.2.1"),
        (("::ffff:192.0.2.1", 25, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 25, 0, 2), "fe80::1"),
        (("2001:db8::1", 25, 0, 0), "2001:db8::1"),
    ],
)
def test_client_address_is_plain_ipv4_or_ipv6(peer, address):
    assert client_address(peer) == ip_address(address)


@pytest.mark.parametrize("peer", [None, "", "/run/socket", (), ("somewhere", 1)])
def test_peer_without_an_internet_address_is_nobody(peer):
    assert client_address(peer) is None
    assert not is_within(client_address(peer), LOOPBACK)


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (("127.9.9.9", 1), True),
        (("::1", 1, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), True),
        (("192.0.2.1", 1), False),
        (("::ffff:192.0.2.1", 1, 0, 0), False),
        (("::2", 1, 0, 0), False),
    ],
)
def test_an_address_is_within_its_networks_only(peer, allowed):
    assert is_within(client_address(peer), LOOPBACK) is allowed


def test_nothing_is_within_no_network():
    assert not is_within(ip_address("127.0.0.1"), ())


def test_hosts_of_one_ipv6_network_are_one_client():
    assert client_key(ip_address("2001:db8::1")) == client_key(ip_address("2001:db8::2"))
    assert client_key(ip_address("2001:db8::1")) != client_key(ip_address("2001:db8:0:1::1"))
    assert client_key(ip_address("192.0.2.1")) != client_key(ip_address("192.0.2.2"))


def warning(listeners, trusted):
    return relay_warning(read_settings({"SESGATE_LISTENERS": listeners, "SESGATE_TRUSTED_NETWORKS": trusted}))


def test_nobody_is_warned_of_the_defaults():
    assert relay_warning(Settings()) is None


@pytest.mark.parametrize(
    ("listeners", "trusted"),
    [
        ("0.0.0.0:2525", "127.0.0.0/8, ::1"),
        ("[::]:25, 192.0.2.1:2525", "127.0.0.1"),
        ("127.0.0.1:2525, [::1]:2525, localhost:2526", "10.0.0.0/8"),
    ],
)
def test_loopback_on_either_side_keeps_strangers_out(listeners, trusted):
    assert warning(listeners, trusted) is None


@pytest.mark.parametrize("listener", ["0.0.0.0:2525", "[::]:2525", "192.0.2.1:2525", "mail.example.com:2525"])
def test_trusted_network_that_can_reach_a_listener_is_named(listener):
    assert warning(f"127.0.0.1:25, {listener}", "127.0.0.0/8, 10.0.0.0/8, 172.30.25.1") == (
        f"Every client in 10.0.0.0/8 and 172.30.25.1 may send to any address without a password through {listener};"
        " narrow SESGATE_TRUSTED_NETWORKS if these are not all yours."
    )


def test_network_that_only_begins_on_loopback_reaches_beyond_it():
    assert "126.0.0.0/7" in (warning("0.0.0.0:25", "126.0.0.0/7") or "")


@pytest.mark.parametrize("everything", ["0.0.0.0/0", "::/0"])
def test_open_relay_is_called_what_it_is(everything):
    said = warning("0.0.0.0:25, [::]:25", f"127.0.0.1, {everything}") or ""
    assert said.startswith("Everybody may send to any address without a password through 0.0.0.0:25 and [::]:25;")


def refusal(rule, author):
    field = b"From: " + author + b"\r\n"
    return author_refusal(credential(senders=(rule,)), sender_addresses([(b"from", field)]))


@pytest.mark.parametrize("rule", ["app@allowed.com", "allowed.com"])
@pytest.mark.parametrize(
    "author",
    [
        b"<ceo@victim.com> <app@allowed.com>",
        b"<app@allowed.com> <ceo@victim.com>",
        b"<ceo@victim.com>: app@allowed.com;",
        b"ceo@victim.com: app@allowed.com;",
        b"=?utf-8?q?ceo=40victim.com?=: app@allowed.com;",
        b"<ceo@victim.com>:<app@allowed.com>",
        b"app@allowed.com, ceo@victim.com:;",
        b"<ceo@victim.com:app@allowed.com>",
        b"<@x.test,ceo@victim.com:app@allowed.com>",
        b'<"a"@victim.com>,"<app@allowed.com>',
        b'<"a">@victim.com>,"<app@allowed.com>',
        b'<"a>"@victim.com>,"<app@allowed.com>',
        b"<app@allowed.com> ceo@victim.com",
        b"ceo@victim.com app@allowed.com",
        b"<ceo@victim.com app@allowed.com>",
        b"=?utf-8?q?ceo=40victim.com?= app@allowed.com",
        b"ceo@victim.com (x) @allowed.com",
        b"ceo@victim.com\x01@allowed.com",
        b"ceo@victim.com@allowed.com",
        b"root@allowed_host",
        b"app @ allowed.com",
        b"(" * 1000 + b")" * 1000 + b" app@allowed.com",
    ],
)
def test_an_author_that_readers_may_see_differently_is_refused(rule, author):
    assert "without a readable address in the From header" in (refusal(rule, author) or "")


@pytest.mark.parametrize("author", [b"=?utf-8?q?ceo=40victim.com=2C?=@allowed.com", b'"ceo@victim.com"@allowed.com'])
def test_a_local_part_that_holds_another_address_is_refused(author):
    assert "may not send with" in (refusal("allowed.com", author) or "")


@pytest.mark.parametrize(
    "author",
    [
        b"ceo@victim.com <app@allowed.com>",
        b"app@allowed.com, Boss <ceo@victim.com>",
        b'["ceo@victim.com"] <app@allowed.com>',  # newer Pythons have a stricter parser, which sees nothing in it
    ],
)
def test_an_author_that_only_some_readers_see_is_refused_by_name(author):
    assert "with <ceo@victim.com> in the From header" in (refusal("allowed.com", author) or "")


@pytest.mark.parametrize("rule", ["app@allowed.com", "allowed.com"])
@pytest.mark.parametrize(
    "author",
    [
        b"app@allowed.com",
        b"App@Allowed.COM",
        b"Shop <app@allowed.com>",
        b"Shop\r\n <app@allowed.com\r\n >",
        b'"Shop, Inc." <app@allowed.com>',
        b"Shop (Inc.) <app@allowed.com> (Shop)",
        b"app@allowed.com (Shop)",
        b"app@allowed.com (ceo@victim.com)",
        b"app@allowed.com, Shop <app@allowed.com>",
        b"undisclosed: app@allowed.com;",
        b"<app@allowed.com>",
        b"app@allowed.com <app@allowed.com>",
        b'"app@allowed.com via Shop" <app@allowed.com>',
        b'"jane@victim.com via CRM" <app@allowed.com>',
        b"=?utf-8?q?jane=40victim.com_via_CRM?= <app@allowed.com>",
        b"=?utf-8?b?R3LDtsOfZQ==?=\r\n =?utf-8?b?R3LDtsOfZQ==?= <app@allowed.com>",
    ],
)
def test_ordinary_authors_are_taken(rule, author):
    assert refusal(rule, author) is None


def test_a_route_is_no_author():
    assert refusal("app@allowed.com", b"<@relay.test:app@allowed.com>") is None


def test_without_rules_no_author_is_looked_at():
    assert author_refusal(credential(), ()) is None
