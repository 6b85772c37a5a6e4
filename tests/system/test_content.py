"""What an application sends is what SES gets, but for the documented edits."""

from __future__ import annotations

import os
import re
import smtplib

import pytest

from tests.support.installation import Installation, mail
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

_ADDED = re.compile(
    rb"\AX-Sesgate-Attempt: [0-9a-f]{32}\r\nReceived: (?:[^\r\n]|\r\n[ \t])*\r\n",
)


def arrived(installation: Installation, address: str) -> bytes:
    """The octets that SES accepted for an address, without the two lines put before them."""
    copies = until(lambda: installation.sent_to(address), what=f"a copy for {address}")
    assert len(copies) == 1
    raw = installation.raw(copies[0])
    assert _ADDED.match(raw), raw[:300]
    return _ADDED.sub(b"", raw)


def test_a_large_attachment_arrives_byte_for_byte(installation: Installation) -> None:
    attachment = b"\r\n".join(os.urandom(38).hex().encode() for _ in range(20 * 1024 * 1024 // 78))
    content = mail("large", attachment + b"\r\n")
    installation.send(content, "success+large@simulator.amazonses.com")
    assert arrived(installation, "success+large@simulator.amazonses.com") == content


def test_8_bit_text_arrives_byte_for_byte(installation: Installation) -> None:
    content = mail("8 bit", "Grüße, 你好\r\n".encode(), **{"Content-Type": "text/plain; charset=utf-8"})
    installation.send(content, "success+eight@simulator.amazonses.com")
    assert arrived(installation, "success+eight@simulator.amazonses.com") == content


def test_raw_8_bit_header_text_is_encoded(installation: Installation) -> None:
    content = mail("plain").replace(b"Subject: plain", "Subject: Grüße".encode())
    installation.send(content, "success+header@simulator.amazonses.com")
    header, _, body = arrived(installation, "success+header@simulator.amazonses.com").partition(b"\r\n\r\n")
    assert header.isascii()
    assert b"=?utf-8?" in header.lower()
    assert body == b"Hello.\r\n"


def test_of_forty_recipients_the_suppressed_three_are_refused(installation: Installation) -> None:
    to = [f"success+n{number}@simulator.amazonses.com" for number in range(40)]
    for address in to[5:8]:
        assert installation.cli("suppressions", "add", address, "--reason", "manual").returncode == 0
    ulid, refused = installation.send(mail("forty"), *to)
    assert ulid is not None
    assert sorted(refused) == sorted(to[5:8])
    assert all(code == 550 and text.startswith(b"5.7.1") for code, text in refused.values())
    until(lambda: installation.statuses(ulid) == {"DELIVERED"}, seconds=60)
    for address in to:
        assert len(installation.sent_to(address)) == (0 if address in refused else 1)


def test_a_null_reverse_path_is_taken(installation: Installation) -> None:
    content = mail("null")
    ulid, _ = installation.send(content, "success+null@simulator.amazonses.com", sender="")
    assert arrived(installation, "success+null@simulator.amazonses.com") == content
    assert ulid is not None
    assert installation.message(ulid)["reverse_path"] is None


def test_a_bcc_field_is_removed_and_its_recipient_gets_the_mail(installation: Installation) -> None:
    content = mail("bcc", Bcc="success+blind@simulator.amazonses.com")
    installation.send(content, "success+open@simulator.amazonses.com", "success+blind@simulator.amazonses.com")
    expected = content.replace(b"Bcc: success+blind@simulator.amazonses.com\r\n", b"")
    assert arrived(installation, "success+open@simulator.amazonses.com") == expected
    assert arrived(installation, "success+blind@simulator.amazonses.com") == expected


def test_bare_lf_lines_are_repaired(installation: Installation) -> None:
    content = mail("bare", b"one\ntwo\r\nthree\n\r\n")
    send_as_it_is(installation, content, "success+bare@simulator.amazonses.com")
    assert arrived(installation, "success+bare@simulator.amazonses.com") == mail_with_crlf(content)


def mail_with_crlf(content: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", content)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (mail("two").replace(b"From:", b"From: b@example.com\r\nFrom:"), 550),
        (mail("none").replace(b"From:", b"X-From:"), 550),
        (mail("cr", b"one\rtwo\r\n"), 550),
        (mail("nul", b"one\0two\r\n"), 550),
        (mail("long", b"x" * 999 + b"\r\n"), 550),
    ],
    ids=["two From fields", "no From field", "a bare CR", "a NUL", "a line of 999 octets"],
)
def test_what_ses_would_not_take_is_refused_at_the_door(installation: Installation, content: bytes, code: int) -> None:
    before = len(installation.sent())
    reply = send_as_it_is(installation, content, "success+refused@simulator.amazonses.com")
    assert reply[0] == code, reply
    assert re.match(rb"5\.\d+\.\d+ ", reply[1])
    assert len(installation.sent()) == before


def send_as_it_is(installation: Installation, content: bytes, to: str) -> tuple[int, bytes]:
    """smtplib repairs line ends before it sends; this does not."""
    with smtplib.SMTP("127.0.0.1", installation.smtp_port, timeout=30) as client:
        client.ehlo("client.example.com")
        client.mail("app@example.com")
        client.rcpt(to)
        assert client.docmd("DATA")[0] == 354
        client.send(content.replace(b"\r\n.", b"\r\n..") + (b"" if content.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        return client.getreply()
