"""The mail that every client sends: 8-bit text, lines that begin with a dot, an attachment, several recipients."""

from __future__ import annotations

from base64 import b64encode, encodebytes
from typing import Any

from tests.clients.front import SENDER, SUPPRESSED, Front, Login, Stored, Way
from tests.clients.programs import server_of

SUBJECT = "Ihre Bestellung: Größe 42"
TEXT = "Grüße aus Köln, 3 €\n.dot at the begin\n..\nThe end.\n"
FILE_NAME = "invoice.bin"
FILE = bytes(range(256)) * 20
RECIPIENTS = ("anna@example.com", "bernd@example.net", "carla@example.com")
ONE_SUPPRESSED = ("anna@example.com", SUPPRESSED, "carla@example.com")
THE_OTHERS = ("anna@example.com", "carla@example.com")
REFUSAL = f"<{SUPPRESSED}>: suppressed (bounce, "

RAW_LF = (
    b"From: Shop <shop@example.org>\n"
    b"To: anna@example.com, bernd@example.net\n"
    b"Subject: =?utf-8?q?Ihre_Bestellung=3A_Gr=C3=B6=C3=9Fe_42?=\n"
    b"Message-ID: <raw-1@example.org>\n"
    b"Date: Sun, 22 Nov 2026 10:00:00 +0000\n"
    b"MIME-Version: 1.0\n"
    b'Content-Type: multipart/mixed; boundary="=-cut"\n'
    b"\n"
    b"--=-cut\n"
    b"Content-Type: text/plain; charset=utf-8\n"
    b"Content-Transfer-Encoding: 8bit\n"
    b"\n" + TEXT.encode() + b"\n"
    b"--=-cut\n"
    b'Content-Type: application/octet-stream; name="invoice.bin"\n'
    b'Content-Disposition: attachment; filename="invoice.bin"\n'
    b"Content-Transfer-Encoding: base64\n"
    b"\n" + encodebytes(FILE) + b"--=-cut--\n"
)
"""A mail whole, as a file on Unix holds it."""
RAW = RAW_LF.replace(b"\n", b"\r\n")
"""The same, as it goes over the wire."""


def job(front: Front, way: Way, recipients: tuple[str, ...] = RECIPIENTS, login: Login | None = None) -> dict[str, Any]:
    """What a script is asked to send; `login` instead of the one that belongs to the way."""
    return {
        "server": server_of(front, way, login),
        "sender": SENDER,
        "recipients": recipients,
        "subject": SUBJECT,
        "text": TEXT,
        "file_name": FILE_NAME,
        "file": b64encode(FILE).decode(),
        "raw": b64encode(RAW).decode(),
    }


def check_envelope(
    stored: Stored, way: Way, recipients: tuple[str, ...] = RECIPIENTS, protocol: str | None = None
) -> None:
    """`protocol` instead of the one that belongs to the way. The order of recipients is the client's own."""
    assert stored.reverse_path == SENDER
    assert sorted(stored.recipients) == sorted(recipients)
    assert stored.protocol == (protocol or way.protocol)
    assert stored.credential == ("shop" if way.auth else "local")


def check_dropped(stored: Stored) -> None:
    """Of a mail under a credential that drops: the suppressed recipient was taken, and will not be mailed."""
    assert sorted(stored.recipients) == sorted(ONE_SUPPRESSED)
    assert stored.credential == "news"


def check_content(stored: Stored) -> None:
    """Of a mail that the client has put together itself."""
    assert stored.mail["Subject"] == SUBJECT
    assert stored.text.replace("\r\n", "\n").rstrip("\n") == TEXT.rstrip("\n")
    assert stored.attachments == {FILE_NAME: FILE}
