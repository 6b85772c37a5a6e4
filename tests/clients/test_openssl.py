"""`openssl s_client`: SMTP by hand under TLS, as somebody looks whose application does not get in."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.clients.front import HOST, SENDER, TLS, WITH_AUTH, Front, Login, Way
from tests.clients.mails import RAW, RECIPIENTS, check_envelope
from tests.clients.programs import program, run


class Dialogue:
    """A session with the front, a line at a time. -quiet has it send a line that begins with R or Q, too."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def say(self, line: str | bytes) -> str:
        self._in.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        self._in.flush()
        return self.reply()

    def reply(self) -> str:
        """The last line of the next reply."""
        while line := self._out.readline():
            if line[3:4] == b" ":
                return line.decode().rstrip("\r\n")
        return ""


@contextmanager
def connected(front: Front, way: Way) -> Iterator[Dialogue]:
    with subprocess.Popen(
        _command(front, way, "-quiet"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Dialogue(process)
        finally:
            process.kill()


def _command(front: Front, way: Way, *options: str) -> list[str]:
    return [
        *(program("openssl"), "s_client", "-connect", f"{HOST}:{front.port(way)}", "-servername", HOST),
        *("-CAfile", str(front.ca_file), "-verify_hostname", HOST, "-verify_return_error"),
        *(("-starttls", "smtp") if way.security == "starttls" else ()),
        *options,
    ]


def plain(login: Login) -> str:
    """The response of AUTH PLAIN (RFC 4616)."""
    return b64encode(f"\0{login.name}\0{login.secret}".encode()).decode()


@pytest.mark.parametrize("way", [WITH_AUTH, Way("tls", auth=True)], ids=str)
def test_a_mail_goes_through_by_hand(front: Front, way: Way) -> None:
    with connected(front, way) as session:
        if way.security == "tls":  # else it has read the greeting itself
            assert session.reply().startswith("220 ")
        assert session.say("EHLO client.example.org").startswith("250 ")
        assert session.say(f"AUTH PLAIN {plain(front.shop)}").startswith("235 2.7.0 ")
        assert session.say(f"MAIL FROM:<{SENDER}> BODY=8BITMIME").startswith("250 2.1.0 ")
        for recipient in RECIPIENTS:
            assert session.say(f"RCPT TO:<{recipient}>").startswith("250 2.1.5 ")
        assert session.say("DATA").startswith("354 ")
        accepted = session.say(RAW.replace(b"\r\n.", b"\r\n..") + b".")
        assert session.say("QUIT").startswith("221 ")
    stored = front.stored_one()
    assert accepted == f"250 2.0.0 OK: queued as {stored.ulid}"
    check_envelope(stored, way)
    assert stored.content == RAW


@pytest.mark.parametrize("way", [WITH_AUTH, TLS], ids=str)
def test_the_certificate_is_the_one_of_the_settings(front: Front, way: Way) -> None:
    done = run(*_command(front, way, "-brief"), stdin=b"")
    assert b"Verification: OK" in done.stderr, done
