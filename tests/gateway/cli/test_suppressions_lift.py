from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from gateway.aws.suppression_list import Pace
from gateway.cli import account_list
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.support.environment import own_environment
from tests.support.sandbox import Sandbox
from tests.support.ses_list import aws_environment, emptied, on_list


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def ses(sandbox):
    yield emptied(sandbox)
    sandbox.set_faults()


@pytest.fixture
def remove(sesgate, stores, sandbox, ses, monkeypatch):
    monkeypatch.setattr(account_list, "Pace", lambda: Pace(0.0))

    def run(*arguments, **environ):
        return sesgate("suppressions", "remove", *arguments, **{**aws_environment(sandbox), **environ})

    return run


WHY = ("--reason", "has a new mailbox")


def suppress(stores, address, reason=Reason.BOUNCE, **fields):
    stores.suppressions.add(parse_subject(address), reason, source="test", detail="", actor="test", **fields)


def is_suppressed(stores, address):
    return bool(stores.suppressions.of(parse_subject(address)))


def test_every_spelling_is_lifted_at_ses(remove, ses, stores):
    for spelling in ("Jane@example.com", "jane@example.com", "JANE@example.com", "other@example.com"):
        ses.put_suppressed_destination(EmailAddress=spelling, Reason="BOUNCE")
    suppress(stores, "JANE@example.com")
    result = remove("Jane@Example.com", *WHY, "--at-ses")
    assert result.exit_code == 0, result.output
    assert on_list(ses) == {"other@example.com": "BOUNCE"}
    assert "Lifted at SES: Jane@Example.com, JANE@example.com, jane@example.com." in result.stdout
    assert not is_suppressed(stores, "jane@example.com")
    with stores.db.read() as sql:
        audited = sql.all("SELECT subject, detail FROM audit WHERE action = 'suppressions.remove_at_ses'")
    assert audited == [("jane@example.com", "Jane@Example.com, JANE@example.com, jane@example.com")]


def test_a_spelling_that_was_stored_once_is_tried_too(remove, ses, stores):
    suppress(stores, "jAnE@example.com")
    assert remove("jane@example.com", *WHY, "--not-at-ses").exit_code == 0
    ses.put_suppressed_destination(EmailAddress="jAnE@example.com", Reason="BOUNCE")
    assert remove("jane@example.com", "--at-ses").exit_code == 0
    assert on_list(ses) == {}


def test_without_a_terminal_the_command_to_do_it_is_printed(remove, ses, stores):
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    suppress(stores, "jane@example.com")
    result = remove("jane@example.com", *WHY)
    assert result.exit_code == 0
    assert "sesgate suppressions remove jane@example.com --at-ses" in result.stderr
    assert on_list(ses) == {"jane@example.com": "BOUNCE"}


def test_who_does_not_want_it_is_not_told(remove, ses, stores):
    suppress(stores, "jane@example.com")
    result = remove("jane@example.com", *WHY, "--not-at-ses")
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("reason", [Reason.MANUAL, Reason.UNSUBSCRIBE, Reason.SOFT_BOUNCE, Reason.GLOBAL_LIST])
def test_nothing_is_offered_for_what_ses_does_not_list(remove, stores, reason):
    suppress(stores, "jane@example.com", reason)
    result = remove("jane@example.com", *WHY)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_bounce_that_something_stronger_took_the_place_of_is_remembered(remove, stores):
    suppress(stores, "jane@example.com")
    suppress(stores, "jane@example.com", Reason.MANUAL)
    assert "--at-ses" in remove("jane@example.com", *WHY).stderr


def test_nothing_is_offered_for_a_domain_or_one_credential(remove, stores):
    suppress(stores, "@example.com")
    suppress(stores, "jane@example.com", scope="local")
    assert "--at-ses" not in remove("@example.com", *WHY).stderr
    assert "--at-ses" not in remove("jane@example.com", "--credential", "local", *WHY).stderr


@pytest.mark.parametrize("subject", [("@example.com",), ("jane@example.com", "--credential", "local")])
def test_asking_for_it_where_ses_has_no_place_is_refused_before_anything_is_lifted(remove, stores, subject):
    suppress(stores, "@example.com")
    suppress(stores, "jane@example.com", scope="local")
    result = remove(*subject, *WHY, "--at-ses")
    assert result.exit_code == 2
    assert is_suppressed(stores, "@example.com")
    assert is_suppressed(stores, "jane@example.com")


def test_a_failure_at_ses_leaves_the_lifting_here_and_can_be_repeated(remove, ses, sandbox, stores):
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    suppress(stores, "jane@example.com")
    sandbox.set_faults(
        error_code="AccessDeniedException",
        error_status=403,
        error_calls=1,
        error_operations=["DeleteSuppressedDestination"],
    )
    result = remove("jane@example.com", *WHY, "--at-ses")
    assert result.exit_code == 1
    assert "no longer suppressed here" in result.stdout
    assert "not lifted at SES" in result.stderr
    assert "ses:DeleteSuppressedDestination" in result.stderr
    assert "sesgate suppressions remove jane@example.com --at-ses" in result.stderr
    assert not is_suppressed(stores, "jane@example.com")
    again = remove("jane@example.com", "--at-ses")
    assert again.exit_code == 0
    assert on_list(ses) == {}


def test_what_ses_does_not_have_is_no_error(remove, stores):
    suppress(stores, "jane@example.com")
    result = remove("jane@example.com", *WHY, "--at-ses")
    assert result.exit_code == 0
    assert "SES does not have it on its list." in result.stdout


def test_what_is_suppressed_here_is_not_lifted_without_a_reason_even_if_ses_is_meant(remove, ses, stores):
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    suppress(stores, "jane@example.com")
    result = remove("jane@example.com", "--at-ses")
    assert result.exit_code == 2
    assert is_suppressed(stores, "jane@example.com")
    assert on_list(ses) == {"jane@example.com": "BOUNCE"}


def test_a_real_account_is_never_asked_to_lift_what_the_simulation_lifted(remove, stores):
    suppress(stores, "jane@example.com")
    result = remove("jane@example.com", *WHY, "--at-ses", AWS_ENDPOINT_URL="https://email.eu-west-1.amazonaws.com")
    assert result.exit_code == 1
    assert "simulated AWS" in result.stderr
    assert not is_suppressed(stores, "jane@example.com")


@pytest.mark.parametrize(("answer", "left"), [("y", {}), ("n", {"jane@example.com": "BOUNCE"})])
def test_a_terminal_is_asked(ses, sandbox, stores, tmp_path, answer, left):
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    suppress(stores, "jane@example.com")
    environ = own_environment()
    terminal, inner = pty.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "suppressions", "remove", "jane@example.com", *WHY],
            env={**environ, **aws_environment(sandbox), "SESGATE_DATA_DIR": str(tmp_path / "var")},
            stdin=inner,
            stdout=subprocess.PIPE,
            stderr=inner,
        )
        os.close(inner)
        seen = b""
        while b"Lift it at SES too? [Y/n]" not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, answer.encode() + b"\n")
        assert b"no longer suppressed here" in child.communicate(timeout=60)[0]
        assert child.returncode == 0
    finally:
        os.close(terminal)
    assert on_list(ses) == left
