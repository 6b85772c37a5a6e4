"""Who may do what at the SMTP front. Pure: addresses and credentials in, decisions out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.addresses import Mailbox
from gateway.credentials import Credential
from gateway.senders import SENDER_FIELDS, SenderAddress, other_readings
from gateway.settings import Settings
from gateway.smtp import replies

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


def is_within(address: IPv4Address | IPv6Address | None, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def client_key(address: IPv4Address | IPv6Address | None) -> str:
    """What connections of one client are counted under."""
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return str(ip_network((int(address), _CLIENT_PREFIX), strict=False))
    return str(address)


def size_limit(credential: Credential | None, max_message_bytes: int) -> int:
    """The octets that a message may have."""
    own = None if credential is None else credential.max_message_bytes
    return max_message_bytes if own is None else min(own, max_message_bytes)


def too_large(credential: Credential | None, max_message_bytes: int) -> str:
    """The reply to a message beyond that limit."""
    if credential is None or size_limit(credential, max_message_bytes) == max_message_bytes:
        return replies.TOO_LARGE
    return replies.too_large_for(credential)


def recipient_limit(credential: Credential, max_recipients: int) -> int:
    """The recipients that a transaction may have; one with more than a cap would be over it for ever."""
    largest = None if credential.caps is None else credential.caps.largest_message
    return max_recipients if largest is None else min(largest, max_recipients)


def reverse_path_refusal(credential: Credential, reverse_path: Mailbox | None) -> str | None:
    """The reply that refuses an envelope sender; None when the credential may use it. Reports have none (RFC 5321)."""
    if reverse_path is None or credential.allows_sender(str(reverse_path)):
        return None
    return replies.reverse_path_not_allowed(credential, str(reverse_path))


def author_refusal(credential: Credential, senders: Sequence[SenderAddress]) -> str | None:
    """The reply that refuses a message for its From; None when the credential may use every address in it.

    What cannot be read is refused where it matters: a reader of the mail may see an address in it that we do not. So
    is what other readers see in it.
    """
    if not credential.senders:
        return None
    authors = [sender for sender in senders if sender.field == SENDER_FIELDS[b"from"]]
    if not authors or not all(author.is_readable for author in authors):
        return replies.author_not_allowed(credential, None)
    refused = next((author.address for author in authors if not credential.allows_sender(author.address)), None)
    if refused is not None:
        return replies.author_not_allowed(credential, refused)
    for written in dict.fromkeys(author.written for author in authors):
        seen = other_readings(written)
        if seen is None:
            return replies.author_not_allowed(credential, None)
        foreign = next((address for address in sorted(seen) if not credential.allows_sender(address)), None)
        if foreign is not None:
            return replies.author_not_allowed(credential, foreign)
    return None


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
