"""curl, whose library sends the mail of many programs in C and C++, and of PHP's and R's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clients.front import EVERY_WAY, HOST, PLAIN, SENDER, SUPPRESSED, WITH_AUTH, Front, Login, Way
from tests.clients.mails import (
    ONE_SUPPRESSED,
    RAW,
    RECIPIENTS,
    THE_OTHERS,
    check_dropped,
    check_envelope,
)
from tests.clients.programs import program, run


def curl(
    front: Front,
    way: Way,
    file: Path,
    recipients: tuple[str, ...],
    *options: str,
    login: Login | None = None,
) -> subprocess.CompletedProcess[bytes]:
    file.write_bytes(RAW)
    login = login or front.login(way)
    scheme = "smtps" if way.security == "tls" else "smtp"
    return run(
        program("curl"),
        *("--silent", "--show-error", f"{scheme}://{HOST}:{front.port(way)}/client.example.org"),
        *("--cacert", front.ca_file, *(("--ssl-reqd",) if way.security == "starttls" else ())),
        *(("--user", f"{login.name}:{login.secret}") if login else ()),
        *("--mail-from", SENDER, *(word for recipient in recipients for word in ("--mail-rcpt", recipient))),
        *("--upload-file", file, *options),
    )


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_is_kept_byte_for_byte(front: Front, way: Way, tmp_path: Path) -> None:
    done = curl(front, way, tmp_path / "mail", RECIPIENTS)
    assert done.returncode == 0, done
    stored = front.stored_one()
    check_envelope(stored, way)
    assert stored.content == RAW


def test_a_refused_recipient_ends_it_and_nobody_gets_the_mail(front: Front, tmp_path: Path) -> None:
    done = curl(front, PLAIN, tmp_path / "mail", ONE_SUPPRESSED)
    assert (done.returncode, b"RCPT failed: 550" in done.stderr) == (55, True)
    assert front.stored() == []


def test_when_failures_are_allowed_the_others_get_the_mail(front: Front, tmp_path: Path) -> None:
    done = curl(front, PLAIN, tmp_path / "mail", ONE_SUPPRESSED, "--mail-rcpt-allowfails")
    assert done.returncode == 0, done
    check_envelope(front.stored_one(), PLAIN, THE_OTHERS)


def test_it_fails_when_every_recipient_is_refused(front: Front, tmp_path: Path) -> None:
    done = curl(front, PLAIN, tmp_path / "mail", (SUPPRESSED,), "--mail-rcpt-allowfails")
    assert done.returncode == 55, done
    assert front.stored() == []


def test_with_drop_nothing_is_refused(front: Front, tmp_path: Path) -> None:
    assert curl(front, WITH_AUTH, tmp_path / "mail", ONE_SUPPRESSED, login=front.news).returncode == 0
    check_dropped(front.stored_one())
