"""A scanner as they are: HELO, no TLS, no AUTH; known by its address alone."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager

from tests.clients.front import SCANNER, SUPPRESSED, Front
from tests.clients.mails import RAW


@contextmanager
def scanner(front: Front) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", front.antique_port, source_address=(SCANNER, 0)) as device:
        assert device.docmd("HELO", "MFP-3F")[0] == 250
        yield device


def test_a_scan_arrives_under_the_credential_of_its_address(front: Front) -> None:
    with scanner(front) as device:
        assert device.docmd("mail from: scanner@example.org")[0] == 250
        assert device.docmd("RCPT TO: anna@example.com")[0] == 250
        assert device.docmd(f"RCPT TO:<{SUPPRESSED}>")[0] == 250
        code, _ = device.data(RAW.replace(b"shop@", b"scanner@"))
        assert code == 250
    stored = front.stored_one()
    assert (stored.credential, stored.protocol) == ("scanner", "SMTP")
    assert (stored.reverse_path, stored.recipients) == ("scanner@example.org", ("anna@example.com", SUPPRESSED))
    assert stored.content == RAW.replace(b"shop@", b"scanner@")


def test_it_cannot_send_as_somebody_else(front: Front) -> None:
    with scanner(front) as device:
        code, reason = device.docmd("MAIL FROM:<boss@example.org>")
    assert (code, reason[:6]) == (550, b"5.7.1 ")
    assert front.stored() == []
