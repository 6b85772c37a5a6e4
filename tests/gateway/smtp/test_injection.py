"""Nothing that a command carries is more than its text: no control characters, no second command, no other protocol."""

from __future__ import annotations

import pytest

from gateway.smtp import replies
from tests.gateway.smtp.running import MESSAGE, Client


@pytest.mark.parametrize(
    "command",
    [
        b"EHLO c\rX-Injected: 1",
        b"EHLO c\0",
        b"EHLO c\td",
        b"EHLO \xff",
        b"MAIL FROM:<a\rb@y.test>",
        b"MAIL FROM:<a\0b@y.test>",
        b'RCPT TO:<"a\rX: y"@y.test>',
        b'RCPT TO:<"\x7f"@y.test>',
        b"RCPT TO:<a@y.test\x01>",
        b"VRFY \x01@",
        b"\x16\x03\x01\x02",
        b"NO\x1bOP",
    ],
)
def test_control_characters_are_refused_wherever_they_stand(client, command):
    assert client.say(command) == replies.COMMAND_NOT_ASCII
    assert client.say(b"NOOP") == replies.OK


def test_surrogates_never_get_in(client):
    client.say(b"EHLO c")
    assert client.say(b"MAIL FROM:<\xff@y.test>") == replies.NON_ASCII_ADDRESS


def test_commands_ended_by_bare_lf_are_not_carried_out(front, client):
    client.send(b"EHLO c\nMAIL FROM:<a@b.test>\nRCPT TO:<x@y.test>\nDATA\n")
    assert [client.reply() for _ in range(4)] == [replies.COMMAND_WITHOUT_CRLF] * 4


@pytest.mark.parametrize(
    "opening",
    [
        b"BDAT 80 LAST\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"CONNECT mail.test:25 HTTP/1.1\r\n\r\n",
        b"Host: x\r\n",
        b"Content-Type: multipart/form-data\r\n",
    ],
)
def test_other_protocol_ends_the_connection_before_its_payload_is_read(front, client, opening):
    client.say(b"EHLO c")
    client.send(opening + b"EHLO c\r\nMAIL FROM:<evil@z.test>\r\nRCPT TO:<v@y.test>\r\nDATA\r\n" + MESSAGE + b".\r\n")
    assert client.replies() == [replies.NOT_SMTP]
    assert front.messages.stored == []


def test_client_that_speaks_before_the_banner_is_shown_the_door(front):
    session = b"EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n" + MESSAGE + b".\r\nQUIT\r\n"
    with Client(front.port) as client:
        client.send(session)
        answers = client.replies()
    # Whether the octets or the banner were first is the network's affair; the content is early in both cases.
    assert answers[-1] == replies.SPOKE_TOO_EARLY
    assert front.messages.stored == []


def test_content_before_354_is_shown_the_door(front, client):
    client.say(b"EHLO c")
    client.say(b"MAIL FROM:<a@b.test>")
    client.say(b"RCPT TO:<x@y.test>")
    client.send(b"DATA\r\n" + MESSAGE + b".\r\nMAIL FROM:<evil@z.test>\r\n")
    assert client.replies() == [replies.SPOKE_TOO_EARLY]
    assert front.messages.stored == []


def test_proxy_header_is_not_believed(front, client):
    client.send(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")
    assert client.replies() == [replies.PROXY_NOT_TAKEN]
    assert front.messages.stored == []


@pytest.mark.parametrize("domain", ["\u00adb.test", "b\u200b.test", "b\ufe0f.test", "\u2060b.test"])
def test_characters_that_nobody_sees_make_no_other_domain(client, domain):
    client.say(b"EHLO c")
    client.say(b"MAIL FROM:<a@b.test>")
    assert client.say(f"RCPT TO:<a@{domain}>".encode()).startswith("553 ")
