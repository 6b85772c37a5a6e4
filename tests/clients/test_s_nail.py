"""s-nail, the `mail` command that can speak SMTP itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.front import EVERY_WAY, HOST, PLAIN, SENDER, SUPPRESSED, WITH_AUTH, Front, Login, Way
from tests.clients.mails import (
    FILE,
    FILE_NAME,
    ONE_SUPPRESSED,
    RECIPIENTS,
    REFUSAL,
    SUBJECT,
    TEXT,
    check_content,
    check_dropped,
    check_envelope,
)
from tests.clients.programs import program, run


def mail(
    front: Front, way: Way, home: Path, *recipients: str, login: Login | None = None
) -> subprocess.CompletedProcess[bytes]:
    attachment = home / FILE_NAME
    attachment.write_bytes(FILE)
    login = login or front.login(way)
    user = f"{login.name}:{quote(login.secret)}@" if login else ""
    settings = {
        "mta": f"{'smtps' if way.security == 'tls' else 'smtp'}://{user}{HOST}:{front.port(way)}",
        "smtp-auth": "plain" if login else "none",
        "tls-ca-file": str(front.ca_file),
        "tls-verify": "strict",
        "hostname": "client.example.org",
        "ttycharset": "utf-8",
        "mime-encoding": "8bit",
    }
    return run(
        program("s-nail"),
        *("-:/", "-Sv15-compat", "-Ssendwait", "-Snosave"),
        *(() if way.security != "starttls" else ("-Ssmtp-use-starttls",)),
        *(f"-S{name}={value}" for name, value in settings.items()),
        *("-r", SENDER, "-s", SUBJECT, "-a", attachment, *recipients),
        stdin=TEXT.encode(),
        HOME=str(home),
    )


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_arrives(front: Front, way: Way, tmp_path: Path) -> None:
    done = mail(front, way, tmp_path, *RECIPIENTS)
    assert done.returncode == 0, done
    stored = front.stored_one()
    # Without AUTH it says HELO once it needs nothing more that EHLO offers.
    check_envelope(stored, way, protocol=way.protocol if way.auth else "SMTP")
    check_content(stored)


@pytest.mark.parametrize("recipients", [ONE_SUPPRESSED, (SUPPRESSED,)], ids=["one", "every"])
def test_a_refused_recipient_ends_it_and_nobody_gets_the_mail(
    front: Front, tmp_path: Path, recipients: tuple[str, ...]
) -> None:
    done = mail(front, PLAIN, tmp_path, *recipients)
    assert done.returncode != 0
    assert f"550 5.1.1 {REFUSAL}".encode() in done.stderr
    assert front.stored() == []


def test_with_drop_nothing_is_refused(front: Front, tmp_path: Path) -> None:
    assert mail(front, WITH_AUTH, tmp_path, *ONE_SUPPRESSED, login=front.news).returncode == 0
    check_dropped(front.stored_one())
