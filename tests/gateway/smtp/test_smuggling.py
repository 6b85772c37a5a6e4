"""Only <CRLF>.<CRLF> ends the content, whatever the segments: one message is good, two is bad."""

from __future__ import annotations

import pytest

from tests.gateway.smtp.admitting import CredentialDouble, admitted, credential, local
from tests.gateway.smtp.running import MESSAGE, Client, running_front

VARIANTS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\r\n",
    b"\r.\r",
    b"\r.\n",
    b"\r\n.\r",
    b"\r\n.\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n. \r\n",
    b"\r\n..\r\n",
]
SMUGGLED = b"MAIL FROM:<evil@z.test>\r\nRCPT TO:<victim@y.test>\r\nDATA\r\nFrom: evil@z.test\r\n\r\nevil"


@pytest.fixture(params=["lan", "modern"])
def client(request, tmp_path):
    settings = {"profiles": (request.param,), "credentials": CredentialDouble(credential(), local())}
    with running_front(tmp_path, **settings) as front, admitted(front) as client:
        client.front = front
        yield client


def _finish(client: Client) -> list[str]:
    client.send(b"\r\n.\r\nQUIT\r\n")
    return client.replies()


def _check(client: Client, replies: list[str]) -> None:
    stored = client.front.messages.envelopes
    assert len(stored) <= 1
    assert sum(reply.startswith("250 2.0.0 OK: queued") for reply in replies) == len(stored)
    for envelope in stored:
        assert [str(path) for path in envelope.forward_paths] == ["bob@example.net"]
        assert envelope.content.count(b"\n") == envelope.content.count(b"\r") == envelope.content.count(b"\r\n")
        assert b"\0" not in envelope.content


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_in_one_segment_smuggles_nothing(client, variant):
    client.begin()
    client.send(MESSAGE.removesuffix(b"\r\n") + variant + SMUGGLED)
    _check(client, _finish(client))


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_octet_by_octet_smuggles_nothing(client, variant):
    client.begin()
    for octet in MESSAGE[-8:-2] + variant + SMUGGLED[:30]:
        client.send(bytes([octet]))
    client.send(SMUGGLED[30:])
    _check(client, _finish(client))


@pytest.mark.parametrize("cut", range(6))
def test_true_end_is_found_across_segments(client, cut):
    end = b"\r\n.\r\n"
    client.begin()
    client.send(MESSAGE.removesuffix(b"\r\n") + end[:cut])
    client.send(end[cut:] + b"QUIT\r\n")
    assert [reply[:9] for reply in client.replies()] == ["250 2.0.0", "221 2.0.0"]
    assert client.front.messages.envelopes[0].content == MESSAGE


def test_cr_before_the_true_end_is_refused_content(client):
    client.begin()
    client.send(MESSAGE.removesuffix(b"\r\n") + b"\r\r\n.\r\n")
    assert client.reply().startswith("550 5.6.0 The content has a bare CR")
    assert client.front.messages.stored == []
