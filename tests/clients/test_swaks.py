"""swaks, the operator's tool for trying an SMTP server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clients.front import EVERY_WAY, HOST, PLAIN, SENDER, SUPPRESSED, WITH_AUTH, Front, Login, Way
from tests.clients.mails import (
    ONE_SUPPRESSED,
    RAW,
    RECIPIENTS,
    REFUSAL,
    THE_OTHERS,
    check_dropped,
    check_envelope,
)
from tests.clients.programs import run, swaks_with_tls

_TLS = {"plain": (), "starttls": ("--tls",), "tls": ("--tls-on-connect",)}


def swaks(
    front: Front, way: Way, file: Path, *recipients: str, login: Login | None = None
) -> subprocess.CompletedProcess[bytes]:
    file.write_bytes(RAW)
    login = login or front.login(way)
    return run(
        swaks_with_tls(),
        *("--server", f"{HOST}:{front.port(way)}", "--ehlo", "client.example.org"),
        *("--from", SENDER, "--to", ",".join(recipients), "--data", f"@{file}"),
        *(() if way.security == "plain" else ("--tls-verify", "--tls-ca-path", front.ca_file)),
        *_TLS[way.security],
        *(("--auth-user", login.name, "--auth-password", login.secret) if login else ()),
        *(("--auth", "LOGIN" if way.security == "tls" else "PLAIN") if login else ()),
    )


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_is_kept_byte_for_byte(front: Front, way: Way, tmp_path: Path) -> None:
    done = swaks(front, way, tmp_path / "mail", *RECIPIENTS)
    assert done.returncode == 0, done
    stored = front.stored_one()
    assert f"250 2.0.0 OK: queued as {stored.ulid}".encode() in done.stdout
    check_envelope(stored, way)
    assert stored.content == RAW + b"\r\n"  # it ends what it is given with a line end of its own


def test_a_refused_recipient_is_shown_and_the_others_get_the_mail(front: Front, tmp_path: Path) -> None:
    done = swaks(front, PLAIN, tmp_path / "mail", *ONE_SUPPRESSED)
    assert done.returncode == 0, done
    assert f"<** 550 5.1.1 {REFUSAL}".encode() in done.stdout
    check_envelope(front.stored_one(), PLAIN, THE_OTHERS)


def test_it_fails_when_every_recipient_is_refused(front: Front, tmp_path: Path) -> None:
    assert swaks(front, PLAIN, tmp_path / "mail", SUPPRESSED).returncode == 24
    assert front.stored() == []


def test_with_drop_nothing_is_refused(front: Front, tmp_path: Path) -> None:
    assert swaks(front, WITH_AUTH, tmp_path / "mail", *ONE_SUPPRESSED, login=front.news).returncode == 0
    check_dropped(front.stored_one())
