"""Who may do what at the SMTP front. Pure: addresses in, decisions out."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.settings import Settings

_CLIENT_PREFIX = 64  # one IPv6 client commonly owns a whole /64


def client_address(peer: object) -> IPv4Address | IPv6Address | None:
    """The address of a socket's peer; IPv4 when it is IPv4 mapped into IPv6. None when it is none of the Internet's."""
    if not isinstance(peer, tuple) or not peer:
        return None
    try:
        address = ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def may_relay(address: IPv4Address | IPv6Address | None, trusted: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether a client may send anywhere without AUTH."""
    return address is not None and any(address in network for network in trusted)


def client_key(address: IPv4Address | IPv6Address | None) -> str:
    """What connections of one client are counted under."""
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return str(ip_network((int(address), _CLIENT_PREFIX), strict=False))
    return str(address)


def relay_warning(settings: Settings) -> str | None:
    """Who beyond this machine may relay without AUTH, in one sentence; None when nobody may.

    Somebody may when a listener can be reached from outside and a trusted network reaches outside.
    """
    open_to = [str(listener.address) for listener in settings.listeners if not listener.address.is_loopback]
    beyond = [network for network in settings.trusted_networks if not network.is_loopback]
    if not open_to or not beyond:
        return None
    who = "Everybody" if any(network.prefixlen == 0 for network in beyond) else f"Every client in {_spoken(beyond)}"
    return (
        f"{who} may send to any address without a password through {' and '.join(open_to)};"
        " narrow SESGATE_TRUSTED_NETWORKS if these are not all yours."
    )


def _spoken(networks: Iterable[IPv4Network | IPv6Network]) -> str:
    return " and ".join(str(net.network_address if net.num_addresses == 1 else net) for net in networks)
