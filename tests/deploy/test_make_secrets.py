from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from deploy.compose.make_secrets import main, make_secrets

SCRIPT = Path(__file__).parents[2] / "deploy" / "compose" / "make_secrets.py"


def contents(directory):
    return {file.name: file.read_text() for file in directory.iterdir()}


def test_server_and_clients_are_given_the_same_password():
    made = make_secrets()
    assert urlsplit(made["database_url"]).password == made["postgres_password"]
    assert made["redis_auth"] == f"requirepass {urlsplit(made['broker_url']).password}"


def test_no_two_passwords_are_the_same():
    passwords = [make_secrets()[name] for name in ("postgres_password", "redis_auth", "flower_basic_auth")] * 2
    passwords += [make_secrets()["postgres_password"]]
    assert len({word.split()[-1].rpartition(":")[2] for word in passwords}) == 4
    assert all(len(word) > 40 for word in passwords)


def test_the_container_may_read_the_files_and_nobody_else_here_gets_to_them(tmp_path):
    directory = tmp_path / "secrets"
    assert main([str(directory)]) == 0
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o444}
    assert set(contents(directory)) == set(make_secrets())


def test_nothing_is_changed_when_one_is_there_already(tmp_path, capsys):
    (tmp_path / "broker_url").write_text("redis://mine")
    assert main([str(tmp_path)]) == 1
    assert contents(tmp_path) == {"broker_url": "redis://mine"}
    assert "broker_url is there already, so nothing was changed." in capsys.readouterr().err


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "secrets")]) == 1
    assert "could not be written to" in capsys.readouterr().err


def test_a_bare_python_is_enough(tmp_path):
    ran = subprocess.run([sys.executable, "-I", "-S", SCRIPT, tmp_path / "made"], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
