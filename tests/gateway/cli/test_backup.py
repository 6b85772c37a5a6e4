from __future__ import annotations

import json

import pytest

from tests.support.installation import Installation, mail
from tests.support.mail import accept
from tests.support.waiting import until


def test_a_backup_says_what_it_holds(sesgate, stores, tmp_path):
    accept(stores)
    made = sesgate("backup", "copy.db", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["size"] == (tmp_path / "copy.db").stat().st_size
    assert told["file"] == "copy.db"


def test_a_second_backup_of_the_same_name_fails(sesgate, stores):
    assert sesgate("backup", "copy.db").exit_code == 0
    again = sesgate("backup", "copy.db")
    assert again.exit_code == 1
    assert "overwrites nothing" in again.stderr


def test_a_directory_that_is_missing_is_one_sentence(sesgate, stores):
    result = sesgate("backup", "nowhere/copy.db")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_postgresql_is_pointed_at_its_own_tool(sesgate):
    result = sesgate("backup", "copy.db", SESGATE_DATABASE_URL="postgresql://db/sesgate")
    assert result.exit_code == 2
    assert "pg_dump" in result.stderr
    assert "sesgate restored" in result.stderr
    assert not result.stdout


@pytest.mark.timeout(180)
def test_a_restored_installation_sends_nothing_until_a_person_says_so(tmp_path):
    copy = tmp_path / "copy.db"
    with Installation(tmp_path / "var") as running:
        running.send(mail("before"), "before@example.com")
        until(lambda: running.sent_to("before@example.com"), what="the first mail is sent")
        assert running.cli("queue", "pause").returncode == 0
        running.send(mail("waiting"), "waiting@example.com")
        made = running.cli("backup", str(copy))
        assert made.returncode == 0, made.stderr
        # What waited in the backup is sent after it was made.
        assert running.cli("queue", "resume").returncode == 0
        until(lambda: running.sent_to("waiting@example.com"), what="the waiting mail is sent")

        running.stop()
        _replace(running, copy)
        running.start()
        status = json.loads(running.cli("queue", "status", "--json").stdout)
        assert "restored from a backup" in status["pause"]["reason"]
        assert status["due"] == 1
        running.send(mail("new"), "new@example.com")
        refused = running.cli("queue", "resume")
        assert refused.returncode == 2
        assert "1 recipient from before it" in refused.stderr
        assert len(running.sent_to("waiting@example.com")) == 1

        assert running.cli("queue", "resume", "--yes").returncode == 0
        until(lambda: running.sent_to("new@example.com"), what="the new mail is sent")
        until(lambda: len(running.sent_to("waiting@example.com")) == 2, what="what was risked is sent again")


def _replace(installation, copy):
    """As docs/backup.md tells: move the database away with everything beside it, and put the copy in its place."""
    database = installation.directory / "sesgate.db"
    old = installation.directory / "old"
    old.mkdir()
    for file in installation.directory.glob("sesgate.db*"):
        file.rename(old / file.name)
    copy.rename(database)
