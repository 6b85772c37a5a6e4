"""The whole loop, with every program as a process: what a newcomer sees after `make run`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.support.installation import SESGATE, Installation, mail
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)
DATABASES = ("sqlite", "postgresql")


def swaks(installation: Installation, to: str) -> str:
    if shutil.which("swaks") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("swaks is not installed")
        pytest.skip("swaks is not installed")
    server = f"127.0.0.1:{installation.smtp_port}"
    done = subprocess.run(
        ["swaks", "--server", server, "--from", "app@example.com", "--to", to],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_mail_to_the_simulator_goes_round_and_the_second_one_is_refused(installation: Installation) -> None:
    assert "250 2.0.0 OK: queued as " in swaks(installation, "success@simulator.amazonses.com")
    assert "250 2.0.0 OK: queued as " in swaks(installation, "bounce@simulator.amazonses.com")
    shown = until(lambda: shown_suppression(installation, "bounce@simulator.amazonses.com"))
    assert "bounce" in shown
    assert "550 5.1.1 <bounce@simulator.amazonses.com>: suppressed (bounce, 20" in swaks(
        installation, "bounce@simulator.amazonses.com"
    )
    assert "250 2.0.0" in swaks(installation, "complaint@simulator.amazonses.com")
    until(lambda: shown_suppression(installation, "complaint@simulator.amazonses.com"))
    assert "550 5.7.1 <complaint@simulator.amazonses.com>: suppressed (complaint, 20" in swaks(
        installation, "complaint@simulator.amazonses.com"
    )


def test_why_tells_the_story_of_an_address_and_what_to_do(installation: Installation) -> None:
    address = "bounce+why@simulator.amazonses.com"
    ulid, _ = installation.send(mail("Why"), address)
    until(lambda: shown_suppression(installation, address))
    told = installation.cli("why", address).stdout
    parts = (
        f'Accepted message {ulid}, "Why", from ',
        f"Message {ulid} was handed to SES: SES took it (SES message id ",
        "it has taken the mail and is going to deliver it [Send]",
        "it bounced for good",
        f"{address} is suppressed since then by what SES reported",
        f'This changes it: `sesgate suppressions remove {address} --reason "..."`.',
    )
    places = [told.find(part) for part in parts]
    assert -1 not in places, told
    assert places == sorted(places), told


def test_silence_of_ses_is_told_while_it_lasts(installation: Installation) -> None:
    installation.set_faults(event_delay_ms=600_000)
    installation.send(mail("Silence"), "success+silence@simulator.amazonses.com")
    try:
        told = until(lambda: concerns_about_reports(installation), what="silence is told")
        assert all("SES took mail" in one for one in told)
    finally:
        installation.set_faults()
    installation.send(mail("Reported on"), "success+reported@simulator.amazonses.com")
    until(lambda: not concerns_about_reports(installation), what="a report ends the silence")


def concerns_about_reports(installation: Installation) -> list[str]:
    """With the patience of a test."""
    patience = ("env", "SESGATE_FEEDBACK_SILENCE=1s")
    done = subprocess.run(
        [*patience, *SESGATE, "queue", "status", "--json"],
        env=installation.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [one for one in json.loads(done.stdout)["concerns"] if "report" in one]


def shown_suppression(installation: Installation, address: str) -> str:
    shown = installation.cli("suppressions", "show", address)
    return shown.stdout if shown.returncode == 0 else ""


def test_each_recipient_has_a_copy_of_its_own_and_a_history(installation: Installation) -> None:
    to = ["success+one@simulator.amazonses.com", "bounce+two@simulator.amazonses.com"]
    ulid, refused = installation.send(mail("two"), *to)
    assert ulid is not None
    assert refused == {}
    until(lambda: installation.statuses(ulid) == {"DELIVERED", "BOUNCED"}, what=f"the end of {ulid}")
    for address in to:
        (copy,) = installation.sent_to(address)
        assert copy["configuration_set"] == "sesgate"
        assert copy["tags"]["sesgate-attempt"] in installation.raw(copy).decode().splitlines()[0]
    assert any(event["kind"] == "Delivery" for event in installation.message(ulid)["events"])


def test_flower_shows_the_workers_and_the_tasks(installation: Installation) -> None:
    installation.send(mail("flower"), "success+flower@simulator.amazonses.com")

    def tasks_are_seen() -> bool:
        metrics = installation.get(installation.flower_port, "/metrics").decode()
        return "sesgate.send" in metrics and "worker1@" in installation.get(installation.flower_port, "/").decode()

    until(tasks_are_seen, what="Flower knows the task and the worker")


def test_the_monitor_reads_what_sql_knows(installation: Installation) -> None:
    ulid, _ = installation.send(mail("metrics"), "success+metrics@simulator.amazonses.com")
    assert ulid is not None
    until(lambda: installation.statuses(ulid) == {"DELIVERED"})
    until(lambda: installation.cli("queue", "status", "--check").returncode == 0, what="nothing needs a person")
    metrics = installation.get(installation.admin_port, "/metrics").decode()
    for line in ("sesgate_rate 950.0", "sesgate_account_rate 1000.0", 'sesgate_circuit_open{kind="account"} 0.0'):
        assert line in metrics.splitlines()
    assert 'sesgate_outcomes_total{status="DELIVERED"}' in metrics
    assert 'sesgate_attempts_total{outcome="accepted"}' in metrics


def test_a_second_up_and_a_plain_up_refuse_with_one_sentence(installation: Installation) -> None:
    second = installation.cli("up", "--sandbox")
    assert second.returncode == 1
    assert len(second.stderr.strip().splitlines()) == 1, second.stderr
    plain = installation.cli("up")
    assert plain.returncode == 1
    assert len(plain.stderr.strip().splitlines()) == 1, plain.stderr
    assert "accepted for the simulated AWS" in plain.stderr
    assert "--sandbox" in plain.stderr


def test_a_shell_can_be_pointed_at_the_running_sandbox(installation: Installation) -> None:
    exports = installation.cli("sandbox", "env")
    assert exports.returncode == 0, exports.stderr
    assert f"export AWS_ENDPOINT_URL=http://127.0.0.1:{installation.sandbox_port}\n" in exports.stdout


def test_messages_are_listed_for_people_and_for_scripts(installation: Installation) -> None:
    ulid, _ = installation.send(mail("listed"), "success+listed@simulator.amazonses.com")
    assert ulid is not None
    assert ulid in installation.cli("messages", "list").stdout
    listed = json.loads(installation.cli("messages", "list", "--json").stdout)
    assert ulid in {message["ulid"] for message in listed}
    assert installation.cli("messages", "show", "nonsense").returncode == 2
    assert installation.cli("messages", "show", "0" * 26).returncode == 1


def test_nothing_of_a_mail_stands_in_the_log(installation: Installation) -> None:
    secret = "xyzzy-secret-of-the-body"
    ulid, _ = installation.send(mail("subject-xyzzy-secret", secret.encode()), "success+log@simulator.amazonses.com")
    assert ulid is not None
    until(lambda: installation.statuses(ulid) == {"DELIVERED"})
    assert "xyzzy" not in installation.log


def test_an_operator_gives_mail_up_and_sends_it_again_once(installation: Installation) -> None:
    assert installation.cli("queue", "pause", "--reason", "wrong template").returncode == 0
    try:
        ulid, _ = installation.send(mail("operator"), "success+operator@simulator.amazonses.com")
        assert ulid is not None
        assert installation.cli("messages", "cancel", ulid, "--yes").returncode == 0
        assert installation.statuses(ulid) == {"CANCELLED"}
    finally:
        assert installation.cli("queue", "resume").returncode == 0
    asked = installation.cli("messages", "retry", "--status", "CANCELLED")
    assert asked.returncode == 2
    assert "1 recipient would be sent again." in asked.stderr
    assert installation.cli("messages", "retry", "--status", "CANCELLED", "--yes").returncode == 0
    until(lambda: installation.statuses(ulid) == {"DELIVERED"}, what=f"the end of {ulid}")
    assert len(installation.sent_to("success+operator@simulator.amazonses.com")) == 1
