"""Content that lies about itself, or tries to be more than content."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from gateway.content import MAX_HEADER, Trace, prepare
from gateway.smtp import replies
from gateway.smtp.limits import Limits
from tests.gateway.smtp.running import MESSAGE, running_front

MEBIBYTE = 1024 * 1024
TRACE = Trace(
    attempt_id="01JD6Z3Q9Y8N5V2K7M4T1RATTE",
    message_ulid="01JD6Z3Q9Y8N5V2K7M4T1RMESS",
    received_at=datetime(2026, 11, 22, 10, tzinfo=UTC),
    hostname="gw.example.org",
    client_address="127.0.0.1",
    helo="client.example.org",
    protocol="ESMTP",
)


@pytest.mark.parametrize("parameters", [b"", b" BODY=7BIT", b" BODY=8BITMIME"])
def test_eight_bit_content_is_kept_whatever_was_announced(front, client, parameters):
    content = MESSAGE + "Grüße\r\n".encode() + bytes(range(0x80, 0x100)) + b"\r\n"
    client.say(b"EHLO c")
    assert client.say(b"MAIL FROM:<a@b.test>" + parameters) == replies.SENDER_OK
    client.say(b"RCPT TO:<bob@example.net>")
    client.say(b"DATA")
    assert client.say(content + b".").startswith("250 ")
    assert front.messages.envelopes[0].content == content


@pytest.mark.parametrize("parameters", [b"", b" SIZE=0", b" SIZE=10"])
def test_limit_counts_the_octets_that_come_and_not_those_announced(tmp_path, parameters):
    with running_front(tmp_path, max_message_bytes=MEBIBYTE) as front, front.connect() as client:
        for content, answer in ((MESSAGE, "250 "), (MESSAGE + b"x" * 70 * 20_000 + b"\r\n", replies.TOO_LARGE)):
            client.say(b"EHLO c")
            assert client.say(b"MAIL FROM:<a@b.test>" + parameters) == replies.SENDER_OK
            client.say(b"RCPT TO:<bob@example.net>")
            client.say(b"DATA")
            assert client.say(content + b".").startswith(answer)
        assert [envelope.content for envelope in front.messages.envelopes] == [MESSAGE]


@pytest.mark.parametrize(
    "fields",
    [b"X-Bomb: 1\r\n" * 100_000, b"X-Bomb: " + b"x\r\n " * 300_000 + b"\r\n", b"Received: x\r\n" * 100_000],
)
def test_header_bomb_is_refused_and_the_session_goes_on(front, client, fields):
    assert client.mail(fields + MESSAGE) == f"550 5.6.0 The header section is larger than {MAX_HEADER} octets"
    assert client.mail(MESSAGE).startswith("250 ")
    assert len(front.messages.stored) == 1


@pytest.mark.parametrize(
    "field",
    [
        b"X-SES-CONFIGURATION-SET: theirs\r\n",
        b"X-SES-MESSAGE-TAGS: a=b,\r\n\tc=d\r\n",
        b"X-SES-SOURCE-ARN: arn:aws:ses:eu-west-1:1:identity/x\r\n",
        b"x-ses-from-arn: arn:aws:ses:eu-west-1:1:identity/x\r\n",
        b"X-SES-RETURN-PATH-ARN : arn:aws:ses:eu-west-1:1:identity/x\r\n",
        b"X-Sesgate-Attempt: 01JD6Z3Q9Y8N5V2K7M4T1RFAKE\r\n",
        b"Bcc: hidden@example.net\r\n",
        b"Resent-Bcc: hidden@example.net\r\n",
    ],
)
def test_fields_that_the_provider_would_obey_or_show_never_leave(front, client, field):
    for content in (field + MESSAGE, MESSAGE.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n")):
        assert client.mail(content).startswith("250 ")
        header, _, _ = prepare(front.messages.envelopes[-1].content, TRACE).partition(b"\r\n\r\n")
        name = field.partition(b":")[0].strip().lower()
        kept = [line for line in header.split(b"\r\n") if line.lower().startswith(name)]
        assert kept == [line for line in kept if TRACE.attempt_id.encode() in line]
        assert b"hidden@" not in header


def test_every_mail_gets_our_trace_field_and_a_loop_ends_at_it(front, client):
    content = MESSAGE
    for _ in range(2):
        assert client.mail(content).startswith("250 ")
        content = prepare(front.messages.envelopes[-1].content, TRACE)
    assert client.mail(content).startswith("250 ")
    again = prepare(front.messages.envelopes[-1].content, TRACE)
    assert client.mail(again) == "554 5.4.6 The message has passed this mail gateway before: a mail loop"


def test_steady_content_may_take_longer_than_an_idle_client_may(tmp_path):
    """One timer from the last command would cut it off."""
    with running_front(tmp_path, limits=Limits(idle=2)) as front, front.connect() as client:
        client.begin()
        client.socket.settimeout(0.05)
        done_at = time.monotonic() + 2.5
        while time.monotonic() < done_at:
            client.send(b"X-Part: " + b"x" * 500 + b"\r\n")
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
        client.socket.settimeout(20)
        assert client.say(MESSAGE + b".").startswith("250 ")
