"""The PROXY protocol, versions 1 and 2: who the client of a load balancer is. Pure but for the reading.

Specification: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
import struct
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
HEADER_TIMEOUT: Final = 5.0

Client = IPv4Address | IPv6Address

_V1_START = b"PROXY "
# What a header may begin with where commands are read in lines: the signature comes in pieces, this is its third.
STARTS: Final = (_V1_START, SIGNATURE, b"\0\r\n")
_V1_LONGEST = 107  # octets with CRLF, the specification says
_V2_LONGEST = 4096  # octets behind the fixed part; what load balancers add are some dozens
_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9.]{7,15}|[0-9A-Fa-f:.]{2,39}) (\S{2,39}) (\d{1,5}) (\d{1,5})\r\n")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_FIXED = len(SIGNATURE) + 4
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_IP_VERSIONS = {b"TCP4": 4, b"TCP6": 6}
# Octets of addresses and ports by family: none, IPv4, IPv6, unix sockets.
_ADDRESS_OCTETS = {0: 0, 1: 12, 2: 36, 3: 216}
_TRANSPORTS = 3  # unspecified, stream, datagram
_LARGEST_PORT = 65535


class ProxyError(ValueError):
    """The connection does not begin with a PROXY header; the message says what is wrong."""


async def read_header(read_exactly: Callable[[int], Awaitable[bytes]]) -> Client | None:
    """Read the header off a connection, and not an octet more: what follows may be the handshake of TLS.

    The result is the client's address; None when the proxy speaks for itself (a health check), or does not know.
    ProxyError when it is no header; what `read_exactly` raises when the connection ends.
    """
    start = await read_exactly(len(SIGNATURE))
    if start == SIGNATURE:
        fixed = start + await read_exactly(_FIXED - len(start))
        return parse_v2(fixed + await read_exactly(v2_remainder(fixed)))
    if not start.startswith(_V1_START):
        raise ProxyError("it does not begin with a PROXY header")
    line = bytearray(start)
    while not line.endswith(b"\n"):
        if len(line) == _V1_LONGEST:
            raise ProxyError(f"the line is longer than {_V1_LONGEST} octets")
        line += await read_exactly(1)
    return parse_v1(bytes(line))


def parse_v1(line: bytes) -> Client | None:
    """The client in a line of version 1; None for UNKNOWN, whatever stands behind it. ProxyError when it is none."""
    if len(line) > _V1_LONGEST:
        raise ProxyError(f"the line is longer than {_V1_LONGEST} octets")
    if _V1_UNKNOWN.fullmatch(line):
        return None
    match = _V1.fullmatch(line)
    if match is None or max(int(match[4]), int(match[5])) > _LARGEST_PORT:
        raise ProxyError("the line of version 1 is malformed")
    try:
        client, server = ip_address(match[2].decode()), ip_address(match[3].decode())
    except ValueError:
        raise ProxyError("the line of version 1 has a malformed address") from None
    if {client.version, server.version} != {_IP_VERSIONS[match[1]]}:
        raise ProxyError("the addresses are not of the family that is named")
    return _unmapped(client)


def v2_remainder(fixed: bytes) -> int:
    """How many octets follow the fixed part of version 2; ProxyError when they are too many."""
    length: int = struct.unpack_from("!H", fixed, _FIXED - 2)[0]
    if length > _V2_LONGEST:
        raise ProxyError(f"the header of version 2 is longer than {_V2_LONGEST} octets")
    return length


def parse_v2(header: bytes) -> Client | None:
    """The client in a whole header of version 2; None for LOCAL, and where it is no TCP over IP. ProxyError else."""
    if len(header) < _FIXED or not header.startswith(SIGNATURE) or len(header) != _FIXED + v2_remainder(header):
        raise ProxyError("the header of version 2 is truncated")
    command, kind = header[12], header[13]
    if command not in (_LOCAL, _PROXY):
        raise ProxyError("the version or the command is not known")
    if command == _LOCAL:
        return None  # whatever stands behind it is to be discarded
    octets = _ADDRESS_OCTETS.get(kind >> 4)
    if octets is None or kind & 0xF >= _TRANSPORTS:
        raise ProxyError("the address family or the transport is not known")
    addresses, extensions = header[_FIXED : _FIXED + octets], header[_FIXED + octets :]
    if len(addresses) < octets:
        raise ProxyError("the addresses are truncated")
    _check_extensions(extensions if octets else b"")
    if kind == _TCP4:
        return IPv4Address(addresses[:4])
    return _unmapped(IPv6Address(addresses[:16])) if kind == _TCP6 else None


def _check_extensions(extensions: bytes) -> None:
    """Type, length and value, one after the other; none of them says anything that is needed here."""
    position = 0
    while position < len(extensions):
        position += 3
        if position > len(extensions):
            break
        position += int(struct.unpack_from("!H", extensions, position - 2)[0])
    if position != len(extensions):
        raise ProxyError("an extension of the header is truncated")


def _unmapped(client: Client) -> Client:
    return getattr(client, "ipv4_mapped", None) or client


def believed_client(named: Client | None, peer: Client | None) -> Client | None:
    """The client that a proxy names; None when it does not know, or when it names its own machine as if it were ours.

    Who connects to a balancer on the balancer's own host has a loopback address there, and is no client of this one.
    """
    if named is None or not named.is_loopback:
        return named
    return named if peer is not None and peer.is_loopback else None
