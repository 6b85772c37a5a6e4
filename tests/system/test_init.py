"""`sesgate init` beside a running installation: from nothing to a wired account, by options and by a person."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess

import pytest

from gateway import env_file
from gateway.sandbox.environment import child_environment
from tests.support.installation import SESGATE
from tests.support.waiting import until


@pytest.fixture
def environ(installation):
    """What a person's shell has beside the simulated AWS; the configuration set and topics are for init to say."""
    shell = {**installation.environ}
    for name, value in child_environment(f"http://127.0.0.1:{installation.sandbox_port}").items():
        shell.pop(name, None)
        if value is not None and not name.startswith("SESGATE_"):
            shell[name] = value
    return shell


def options(installation, environment):
    return (
        *("init", "--region", "us-east-1", "--environment", environment, "--sender", "example.com"),
        *("--networks", "", "--reports", f"http://127.0.0.1:{installation.webhook_port}/sns"),
    )


def run(environ, directory, *arguments):
    return subprocess.run(
        [*SESGATE, *arguments], env=environ, cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_wires_an_account_from_nothing_and_may_be_run_again(installation, environ, tmp_path):
    (tmp_path / ".env").write_text("# ours\nSESGATE_LOG_FORMAT=json\n")
    (tmp_path / ".env").chmod(0o640)
    done = run(environ, tmp_path, *options(installation, "first"), "--yes")
    assert done.returncode == 0, done.stderr
    assert "Confirmed: what SES reports is delivered." in done.stdout
    written = env_file.read((tmp_path / ".env").read_text())
    assert written["SESGATE_SES_CONFIGURATION_SET"] == "sesgate-first"
    assert written["SESGATE_SNS_TOPIC_ARNS"].endswith(":sesgate-first-feedback")
    assert written["SESGATE_LOG_FORMAT"] == "json"
    assert "SESGATE_LISTENERS" not in written
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o640, "its service may read it still"
    assert json.loads((tmp_path / "sesgate-iam-policy.json").read_text())["Statement"]

    before = (tmp_path / ".env").read_text()
    again = run(environ, tmp_path, *options(installation, "first"), "--yes")
    assert again.returncode == 0, again.stderr
    assert "Nothing to change" in again.stdout
    assert (tmp_path / ".env").read_text() == before


def test_without_wiring_it_says_what_to_type_later(installation, environ, tmp_path):
    done = run(environ, tmp_path, *options(installation, "later"), "--yes", "--no-provision")
    assert done.returncode == 0, done.stderr
    assert "Later: sesgate provision --environment later --webhook-url" in done.stdout


def test_a_password_in_the_url_of_the_webhook_is_not_shown(installation, environ, tmp_path):
    url = f"http://sns:s3cret@127.0.0.1:{installation.webhook_port}/sns"
    for more, begins in (((), "$ sesgate provision"), (("--no-provision",), "Later: sesgate provision")):
        done = run(environ, tmp_path, *options(installation, "secret"), "--reports", url, "--yes", *more)
        (line,) = (each for each in done.stdout.splitlines() if each.startswith(begins))
        assert f"http://sns:****@127.0.0.1:{installation.webhook_port}/sns" in line


def test_what_the_environment_says_otherwise_is_told(installation, environ, tmp_path):
    environ = {**environ, "SESGATE_TRUSTED_NETWORKS": "127.0.0.0/8"}
    done = run(environ, tmp_path, *options(installation, "other"), "--yes", "--no-provision")
    assert "Warning: SESGATE_TRUSTED_NETWORKS: the environment has something else" in done.stderr


def test_a_name_within_a_value_of_the_file_is_filled_in_for_the_commands_too(installation, environ, tmp_path):
    (tmp_path / ".env").write_text("WHERE=filled\nSESGATE_DATA_DIR=${WHERE}/var\n")
    (tmp_path / "filled").mkdir()
    shell = {name: value for name, value in environ.items() if name not in {"SESGATE_DATA_DIR", "SESGATE_DATABASE_URL"}}
    run(shell, tmp_path, *options(installation, "names"), "--yes", "--no-provision")
    assert list((tmp_path / "filled" / "var").iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--region", "Ireland"), "--region: 'Ireland' is no AWS region"),
        (("--networks", "10.0.0.1/8"), "--networks: '10.0.0.1/8' are no networks"),
        (("--reports", "example.com"), "--reports: "),
    ],
)
def test_a_wrong_answer_changes_nothing(installation, environ, tmp_path, wrong, words):
    done = run(environ, tmp_path, *options(installation, "wrong"), *wrong, "--yes")
    assert done.returncode == 2
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named_where_nobody_can_be_asked(environ, tmp_path):
    done = run(environ, tmp_path, "init", "--yes", "--region", "us-east-1")
    assert done.returncode == 2
    assert "--sender is missing" in done.stderr


def test_a_person_is_asked_again_after_a_slip(installation, environ, tmp_path):
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [*SESGATE, "init", "--no-provision"], env=environ, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = bytearray()
    try:
        for question, answer in (
            (b"AWS region", b"the moon"),
            (b"is no AWS region", b"us-east-1"),
            (b"environment", b""),
            (b"send from", b"example.com"),
            (b"Networks", b"10.0.0.0/8"),
            (b"/sns", b"queue"),
        ):
            _read_until(ours, seen, question)
            os.write(ours, answer + b"\n")
        _read_until(ours, seen, b"When everything runs: sesgate prove --from sesgate@example.com")
        _drain(ours)
        assert program.wait(timeout=60) == 0
    finally:
        program.kill()
        program.wait()
        os.close(ours)
    written = env_file.read((tmp_path / ".env").read_text())
    assert written["SESGATE_LISTENERS"] == "0.0.0.0:2525 lan"
    assert written["SESGATE_SES_CONFIGURATION_SET"] == "sesgate-production"


def _read_until(terminal: int, seen: bytearray, words: bytes) -> None:
    """Read on until the words have come, behind everything that was looked for before."""

    def came() -> bool:
        if words not in seen:
            seen.extend(os.read(terminal, 65536))
        return words in seen

    until(came, what=f"{words!r} on the terminal")
    del seen[: seen.index(words) + len(words)]


def _drain(terminal: int) -> None:
    """A program that nobody listens to any more would wait; Linux says EIO once it has ended."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass


def test_what_it_has_wired_is_proved(installation, environ, tmp_path):
    """Mail of a credential with the new configuration set is reported by the new topic to the running webhook."""
    assert run(environ, tmp_path, *options(installation, "sends"), "--yes").returncode == 0
    added = run(environ, tmp_path, "credentials", "add", "shop", "--configuration-set", "sesgate-sends", "--json")
    assert added.returncode == 0, added.stderr
    (tmp_path / "secret").write_text(json.loads(added.stdout)["secret"])
    login = ("--user", "shop", "--secret-file", "secret")
    # The front knows a new credential after a moment.
    once = ("prove", "--from", "app@example.com", "--only", "success", *login)
    until(lambda: run(environ, tmp_path, *once).returncode == 0, what="the new credential is known")
    proved = run(environ, tmp_path, "prove", "--from", "app@example.com", *login)
    assert proved.returncode == 0, proved.stderr
    assert "The loop holds: 5 of 5 addresses" in proved.stdout
