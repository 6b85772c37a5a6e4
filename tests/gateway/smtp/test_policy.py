from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from gateway.smtp.policy import client_address, client_key, may_relay

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
    assert not may_relay(client_address(peer), LOOPBACK)


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
def test_only_trusted_networks_may_relay(peer, allowed):
    assert may_relay(client_address(peer), LOOPBACK) is allowed


def test_nobody_may_relay_when_no_network_is_trusted():
    assert not may_relay(ip_address("127.0.0.1"), ())


def test_hosts_of_one_ipv6_network_are_one_client():
    assert client_key(ip_address("2001:db8::1")) == client_key(ip_address("2001:db8::2"))
    assert client_key(ip_address("2001:db8::1")) != client_key(ip_address("2001:db8:0:1::1"))
    assert client_key(ip_address("192.0.2.1")) != client_key(ip_address("192.0.2.2"))
