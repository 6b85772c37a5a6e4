"""msmtp, which stands for sendmail on machines whose cron has something to say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clients.front import EVERY_WAY, HOST, PLAIN, SENDER, SUPPRESSED, WITH_AUTH, Front, Login, Way
from tests.clients.mails import (
    ONE_SUPPRESSED,
    RAW,
    RAW_LF,
    RECIPIENTS,
    REFUSAL,
    check_dropped,
    check_envelope,
)
from tests.clients.programs import program, run


def sendmail(
    front: Front, way: Way, directory: Path, recipients: tuple[str, ...], login: Login | None = None
) -> subprocess.CompletedProcess[bytes]:
    login = login or front.login(way)
    lines = (
        "account default",
        f"host {HOST}",
        f"port {front.port(way)}",
        "domain client.example.org",
        f"tls {'off' if way.security == 'plain' else 'on'}",
        f"tls_starttls {'on' if way.security == 'starttls' else 'off'}",
        f"tls_trust_file {front.ca_file}",
        *(("auth plain", f"user {login.name}", f"password {login.secret}") if login else ()),
    )
    configuration = directory / "msmtprc"
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(lines) + "\n")
    return run(program("msmtp"), "-C", configuration, "-f", SENDER, "--", *recipients, stdin=RAW_LF)


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_is_kept_byte_for_byte(front: Front, way: Way, tmp_path: Path) -> None:
    done = sendmail(front, way, tmp_path, RECIPIENTS)
    assert done.returncode == 0, done
    stored = front.stored_one()
    check_envelope(stored, way)
    assert stored.content == RAW


@pytest.mark.parametrize("recipients", [ONE_SUPPRESSED, (SUPPRESSED,)], ids=["one", "every"])
def test_a_refused_recipient_ends_it_and_nobody_gets_the_mail(
    front: Front, tmp_path: Path, recipients: tuple[str, ...]
) -> None:
    done = sendmail(front, PLAIN, tmp_path, recipients)
    assert done.returncode == 65, done
    assert f"550 5.1.1 {REFUSAL}".encode() in done.stderr
    assert front.stored() == []


def test_with_drop_nothing_is_refused(front: Front, tmp_path: Path) -> None:
    assert sendmail(front, WITH_AUTH, tmp_path, ONE_SUPPRESSED, front.news).returncode == 0
    check_dropped(front.stored_one())
