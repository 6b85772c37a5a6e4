"""The PROXY protocol: its two headers, and who may send one."""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import ip_address, ip_network

import pytest

from gateway.smtp import proxy, replies
from gateway.smtp.proxy import ProxyError, parse_v1, parse_v2, read_header
from tests.gateway.smtp.running import HOST, MESSAGE, Client, running_front

V4 = ip_address("192.0.2.1").packed + ip_address("198.51.100.9").packed + struct.pack("!HH", 4711, 25)
V6 = ip_address("2001:db8::1").packed + ip_address("2001:db8::9").packed + struct.pack("!HH", 4711, 25)
MAPPED = ip_address("::ffff:192.0.2.1").packed + ip_address("2001:db8::9").packed + struct.pack("!HH", 4711, 25)
ENDPOINT = struct.pack("!BH", 0xEA, 5) + b"\1vpce"


def v2(command: int, kind: int, rest: bytes, length: int | None = None) -> bytes:
    return proxy.SIGNATURE + struct.pack("!BBH", command, kind, len(rest) if length is None else length) + rest


@pytest.mark.parametrize(
    ("line", "client"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.9 4711 25\r\n", "192.0.2.1"),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::9 4711 25\r\n", "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::9 4711 25\r\n", "192.0.2.1"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", None),
    ],
)
def test_version_1(line, client):
    assert parse_v1(line) == (client and ip_address(client))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"PROXY\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.9 4711 25\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.9 4711\r\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.9 4711 25\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.9 4711 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.9 65536 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.9 -1 25\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::9 4711 25\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.9 4711 25\r\n",
        b"PROXY TCP6 2001:db8::1 198.51.100.9 4711 25\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.9 4711 25\r\n",
        b"proxy TCP4 192.0.2.1 198.51.100.9 4711 25\r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    ],
)
def test_malformed_version_1(line):
    with pytest.raises(ProxyError):
        parse_v1(line)


def test_the_longest_line_of_version_1_is_taken():
    assert parse_v1(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n") is None


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (v2(0x21, 0x11, V4), "192.0.2.1"),
        (v2(0x21, 0x21, V6), "2001:db8::1"),
        (v2(0x21, 0x21, MAPPED), "192.0.2.1"),
        (v2(0x21, 0x11, V4 + ENDPOINT + ENDPOINT), "192.0.2.1"),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, V4 + b"\xea"), None),
        (v2(0x21, 0x00, b""), None),
        (v2(0x21, 0x00, b"whatever"), None),
        (v2(0x21, 0x12, V4), None),
        (v2(0x21, 0x31, b"\0" * 216), None),
        (v2(0x21, 0x11, V4 + struct.pack("!BH", 4, 4081) + b"\0" * 4081), "192.0.2.1"),
    ],
)
def test_version_2(header, client):
    assert parse_v2(header) == (client and ip_address(client))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        proxy.SIGNATURE,
        v2(0x21, 0x11, V4)[:-1],
        v2(0x21, 0x11, V4) + b"x",
        v2(0x21, 0x11, V4[:-1]),
        v2(0x21, 0x21, V4),
        v2(0x11, 0x11, V4),
        v2(0x22, 0x11, V4),
        v2(0x21, 0x41, V4),
        v2(0x21, 0x13, V4),
        v2(0x21, 0x11, V4 + ENDPOINT[:-1]),
        v2(0x21, 0x11, V4 + b"\xea"),
        v2(0x21, 0x11, V4 + b"\xea\0"),
        v2(0x21, 0x11, V4, length=4097),
        v2(0x21, 0x11, V4, length=65535),
    ],
)
def test_malformed_version_2(header):
    with pytest.raises(ProxyError):
        parse_v2(header)


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.1 198.51.100.9 4711 25\r\n", b"PROXY UNKNOWN\r\n", v2(0x21, 0x11, V4 + ENDPOINT)]
)
def test_not_an_octet_more_than_the_header_is_read(header):
    async def read() -> bytes:
        stream = asyncio.StreamReader()
        stream.feed_data(header + b"EHLO")
        stream.feed_eof()
        await read_header(stream.readexactly)
        return await stream.read()

    assert asyncio.run(read()) == b"EHLO"


@pytest.mark.parametrize(
    "start",
    [b"EHLO client.example.org\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abc", b"PROXY " + b"x" * 200],
)
def test_what_is_no_header_is_refused(start):
    async def read() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(start)
        await read_header(stream.readexactly)

    with pytest.raises(ProxyError):
        asyncio.run(read())


LOOPBACK = (ip_network("127.0.0.0/8"),)
FROM_A_CLIENT = [b"PROXY TCP4 192.0.2.1 198.51.100.9 4711 25\r\n", v2(0x21, 0x11, V4 + ENDPOINT)]
BEHIND_PROXY = {"proxy_networks": LOOPBACK, "trusted_networks": (ip_network("192.0.2.0/24"),)}


def connected(front, header: bytes) -> Client:
    client = Client(front.port)
    client.send(header)
    return client


@pytest.mark.parametrize("header", FROM_A_CLIENT)
class TestProxied:
    @pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, None])
    def test_the_client_is_known_by_its_own_address(self, tmp_path, header, loop_factory):
        values = {**BEHIND_PROXY, **({"loop_factory": loop_factory} if loop_factory else {})}
        with running_front(tmp_path, **values) as front, connected(front, header) as client:
            assert client.reply().startswith("220 ")
            assert client.mail(MESSAGE).startswith("250 ")
            assert front.messages.envelopes[0].origin.client_address == "192.0.2.1"

    @pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, None])
    def test_the_header_comes_before_the_handshake(self, tmp_path, header, loop_factory):
        values = {**BEHIND_PROXY, **({"loop_factory": loop_factory} if loop_factory else {})}
        with running_front(tmp_path, profiles=("lan tls",), **values) as front, connected(front, header) as client:
            client.wrap()
            assert client.reply().startswith("220 ")
            assert client.mail(MESSAGE).startswith("250 ")
            assert front.messages.envelopes[0].origin.client_address == "192.0.2.1"

    def test_the_networks_of_the_proxy_are_not_those_of_the_client(self, tmp_path, header):
        values = {"proxy_networks": LOOPBACK, "trusted_networks": LOOPBACK}
        with running_front(tmp_path, **values) as front, connected(front, header) as client:
            assert client.reply().startswith("220 ")
            client.say(b"EHLO c")
            client.say(b"MAIL FROM:<a@b.test>")
            assert client.say(b"RCPT TO:<c@d.test>") == replies.relaying_denied("192.0.2.1")

    def test_nobody_else_may_send_one(self, tmp_path, header):
        values = {"proxy_networks": (ip_network("203.0.113.0/24"),)}
        with running_front(tmp_path, **values) as front, connected(front, header) as client:
            assert replies.PROXY_NOT_TAKEN in client.replies()[-1]
            assert front.messages.stored == []

    def test_nor_after_the_banner(self, tmp_path, header):
        with running_front(tmp_path) as front, front.connect() as client:
            client.send(header)
            assert client.replies()[-1] == replies.PROXY_NOT_TAKEN


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(0x20, 0, b""), v2(0x21, 0, b"")])
def test_a_proxy_that_speaks_for_itself_is_greeted_and_not_trusted(tmp_path, header):
    values = {"proxy_networks": LOOPBACK, "trusted_networks": LOOPBACK}
    with running_front(tmp_path, **values) as front, connected(front, header) as client:
        assert client.reply().startswith("220 ")
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        assert client.say(b"RCPT TO:<c@d.test>") == replies.relaying_denied("")


@pytest.mark.parametrize("start", [b"EHLO client.example.org\r\n", b"PROXY TCP4 192.0.2.1\r\n", v2(0x21, 0x41, V4)])
def test_a_proxy_without_a_header_is_not_greeted(tmp_path, start):
    with running_front(tmp_path, proxy_networks=LOOPBACK) as front, connected(front, start) as client:
        assert client.replies() == []
        assert front.connections == 0


def test_a_proxy_that_says_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "HEADER_TIMEOUT", 0.2)
    with running_front(tmp_path, proxy_networks=LOOPBACK) as front, Client(front.port) as client:
        assert client.replies() == []


def test_a_check_that_only_connects_leaves_nothing(tmp_path):
    with running_front(tmp_path, proxy_networks=LOOPBACK) as front:
        socket.create_connection((HOST, front.port)).close()
        with connected(front, b"PROXY UNKNOWN\r\n") as client:
            assert client.reply().startswith("220 ")


@pytest.mark.parametrize(
    ("named", "peer", "believed"),
    [
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
        ("127.0.0.1", "10.0.0.1", None),
        ("::1", "10.0.0.1", None),
        ("127.0.0.5", "127.0.0.1", "127.0.0.5"),
        (None, "10.0.0.1", None),
    ],
)
def test_a_proxy_elsewhere_cannot_name_this_machine(named, peer, believed):
    client = proxy.believed_client(named and ip_address(named), ip_address(peer))
    assert (client and str(client)) == believed
