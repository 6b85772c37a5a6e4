"""`sesgate provision` as it is typed, against the simulated AWS and with a real webhook."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from itertools import count

import pytest
from moto.server import ThreadedMotoServer

from gateway.cli import provision_run
from gateway.store.control import HEARD
from gateway.store.schema import migrate
from gateway.store.stores import open_stores
from gateway.store.trusted_topics import trusted_topics
from tests.support.ports import free_port
from tests.support.sandbox import Sandbox
from tests.support.stores import sqlite_settings
from tests.support.waiting import until
from tests.webhook.test_wsgi import running

_NUMBERS = count()
_PASSWORD = "s3cret"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with Sandbox(directory=tmp_path_factory.mktemp("aws") / "sandbox") as started:
        yield started


@pytest.fixture
def data(tmp_path, sandbox):
    """A data directory with a database of the simulation, whose webhook pins the sandbox's certificate."""
    directory = tmp_path / "var"
    directory.mkdir(mode=0o700)
    (directory / "sandbox").symlink_to(sandbox.directory)
    migrate(sqlite_settings(directory).database, "sandbox")
    return directory


@pytest.fixture
def provision(sesgate, sandbox, data, monkeypatch):
    """Runs `sesgate provision` on an environment name of its own."""
    monkeypatch.setattr(provision_run, "_TOPICS_KNOWN_AFTER", 0.0)
    sandbox.set_faults()
    given = {"SESGATE_DATA_DIR": str(data)}
    environ = {name: value for name, value in sandbox.environment().items() if name.startswith("AWS_")} | given
    scope = f"t{next(_NUMBERS)}"

    def run(*arguments, **more):
        return sesgate("provision", "--environment", scope, *arguments, **environ, **more)

    run.scope = scope
    run.environ = environ
    return run


def topic(provision):
    return f"arn:aws:sns:us-east-1:000000000000:sesgate-{provision.scope}-feedback"


def trusted(data):
    stores = open_stores(sqlite_settings(data))
    try:
        return trusted_topics(stores.db)
    finally:
        stores.close()


def marks(result):
    return [line[0] for line in result.stdout.splitlines() if line[:2] in {"+ ", "~ ", "= ", "! "}]


def test_without_a_way_for_the_reports_both_ways_are_explained(provision):
    result = provision()
    assert result.exit_code == 2
    assert "--webhook-url https://mail.example.com/sns for a webhook" in result.stderr
    assert "--queue for an SQS queue" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--queue", "--timeout", "soon"], "--timeout"),
        (["--queue", "--classic"], "--identity"),
        (["--webhook-url", "mail.example.com"], "no URL"),
        (["--destroy", "--output", "json"], "leave --output out"),
        (["--destroy", "--name", "a b"], "--name 'a b'"),
    ],
)
def test_bad_usage_is_a_sentence(provision, arguments, sentence):
    result = provision(*arguments)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr


def test_a_dry_run_shows_the_plan_and_changes_nothing(provision, data):
    for _ in range(2):
        result = provision("--queue", "--dry-run")
        assert result.exit_code == 0, result.output
        assert marks(result) == ["+", "+", "+", "+", "+", "~", "+"]
        assert "    SignatureVersion: 2\n" in result.stdout
        assert "6 to make, 1 to change." in result.stdout
    assert trusted(data) == frozenset()


def test_from_nothing_and_again(provision, data, sandbox):
    first = provision("--queue")
    assert first.exit_code == 0, first.output
    assert "Confirmed: what SES reports is delivered." in first.stdout
    assert f"SESGATE_SES_CONFIGURATION_SET=sesgate-{provision.scope}\n" in first.stdout
    assert f"SESGATE_SNS_TOPIC_ARNS={topic(provision)}\n" in first.stdout
    url = re.search(r"SESGATE_FEEDBACK_QUEUE_URL=(\S+)", first.stdout)[1]
    assert sandbox.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    assert '"ses:SendRawEmail"' in first.stdout
    assert trusted(data) == {topic(provision)}

    again = provision("--queue")
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("Nothing to change")
    assert set(marks(provision("--queue", "--dry-run"))) == {"="}


def test_what_somebody_changed_is_shown_with_old_and_new_and_put_right(provision, sandbox):
    provision("--queue")
    sandbox.client("sns").set_topic_attributes(
        TopicArn=topic(provision), AttributeName="SignatureVersion", AttributeValue="1"
    )
    assert "    SignatureVersion: 1 -> 2\n" in provision("--queue", "--dry-run").stdout
    assert f"~ topic sesgate-{provision.scope}-feedback: changed (SignatureVersion)" in provision("--queue").stdout
    assert provision("--queue").stdout.startswith("Nothing to change")


def test_a_webhook_confirms_and_is_told_of_the_topic_before_it_is_asked(
    provision, data, sandbox, monkeypatch, tmp_path
):
    monkeypatch.setattr(provision_run, "_TOPICS_KNOWN_AFTER", 3.0)  # as it is: the webhook must know the topic by then
    environ = {**sandbox.environment(), "SESGATE_DATA_DIR": str(data)}
    with running("webhook.wsgi:app", environ, tmp_path) as port:
        result = provision("--webhook-url", f"http://127.0.0.1:{port}/sns")
    assert result.exit_code == 0, result.output
    assert "Confirmed: what SES reports is delivered." in result.stdout
    assert set(marks(provision("--webhook-url", f"http://127.0.0.1:{port}/sns", "--dry-run"))) == {"="}


def test_a_webhook_that_is_not_reached_is_a_diagnosis_without_the_password(provision):
    url = f"http://user:{_PASSWORD}@127.0.0.1:{free_port()}/sns"
    shown = url.replace(_PASSWORD, "****")
    closed = f"127.0.0.1:{free_port()}"
    result = provision("--webhook-url", url, "--timeout", "100ms", SESGATE_WEBHOOK_LISTEN=closed)
    assert result.exit_code == 1
    assert "not confirmed in 0.1 s; nothing has reached the webhook yet" in result.stderr
    assert f"curl -i {shown}" in result.stderr
    assert f"On this machine nothing answers on {closed}" in result.stderr
    for output in (
        result,
        provision("--webhook-url", url, "--dry-run"),
        provision("--webhook-url", url, "--output=json"),
    ):
        assert _PASSWORD not in output.output
        assert shown in output.output


def test_a_webhook_that_may_not_confirm_is_told_of_what_it_lacks(provision, data, sandbox, tmp_path, monkeypatch):
    denied = {"error_rate": 1.0, "error_code": "AuthorizationError", "error_status": 403}
    sandbox.set_faults(**denied, error_operations=["ConfirmSubscription"])
    environ = {**sandbox.environment(), "SESGATE_DATA_DIR": str(data)}
    stores = open_stores(sqlite_settings(data))

    def heard(_aws, awaited, *, seconds, say):
        """Until the webhook has tried, instead of for a time."""
        until(lambda: "not-confirmed" in (stores.control.get(HEARD) or {}).get("webhook", {}))
        say(awaited)
        return tuple(awaited)

    with running("webhook.wsgi:app", environ, tmp_path) as port:
        url = f"http://127.0.0.1:{port}/sns"
        with monkeypatch.context() as patched:
            patched.setattr(provision_run, "wait_for", heard)
            result = provision("--webhook-url", url, SESGATE_WEBHOOK_LISTEN=f"127.0.0.1:{port}")
        sandbox.set_faults()
        again = provision("--webhook-url", url)
    stores.close()
    assert result.exit_code == 1
    assert "the request reached the webhook, which could not confirm it" in result.stderr
    assert "sns:ConfirmSubscription" in result.stderr
    assert "nothing answers" not in result.stderr
    assert again.exit_code == 0, again.output
    assert "asked to confirm again" in again.stdout


def test_nobody_waits_who_does_not_want_to(provision):
    result = provision("--webhook-url", "http://127.0.0.1:1/sns", "--no-wait")
    assert result.exit_code == 0, result.output
    assert "Confirmed" not in result.stdout


def test_what_was_killed_is_finished_by_the_next_run(provision, data, sandbox, tmp_path):
    sandbox.set_faults(latency_ms=150)
    program = [sys.executable, "-m", "gateway.cli", "provision", "--environment", provision.scope, "--queue"]
    environ = {**sandbox.environment(), **provision.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(program, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("+ queue"):
                process.send_signal(signal.SIGKILL)
                break
    sandbox.set_faults()
    left = provision("--queue", "--dry-run")
    assert "=" in marks(left)
    assert "+" in marks(left)
    assert provision("--queue").exit_code == 0
    assert set(marks(provision("--queue", "--dry-run"))) == {"="}


def test_what_is_not_ours_is_not_touched_and_taken_over_on_demand(provision, sandbox):
    sandbox.client("sns").create_topic(Name=f"sesgate-{provision.scope}-feedback")
    dry = provision("--queue", "--dry-run")
    assert dry.exit_code == 0
    assert f"! topic sesgate-{provision.scope}-feedback: it is there and not ours; --adopt takes it over" in dry.stdout
    refused = provision("--queue")
    assert refused.exit_code == 1
    assert "Nothing was changed" in refused.stderr
    assert provision("--queue", "--adopt").exit_code == 0
    assert provision("--queue").stdout.startswith("Nothing to change")


def test_a_denied_call_names_what_is_missing_and_what_was_done(provision, sandbox):
    sandbox.set_faults(
        error_rate=1.0,
        error_code="AccessDeniedException",
        error_status=403,
        error_operations=["CreateConfigurationSet"],
    )
    result = provision("--queue")
    assert result.exit_code == 1
    assert "AWS denied ses:CreateConfigurationSet" in result.stderr
    assert "Done before: topic" in result.stderr
    assert "Traceback" not in result.output


def test_destroy_lists_asks_and_removes(provision, data, sandbox):
    provision("--queue")
    listed = provision("--destroy", "--dry-run")
    assert listed.exit_code == 0
    assert f"- topic sesgate-{provision.scope}-feedback" in listed.stdout
    assert trusted(data)

    asked = provision("--destroy")
    assert asked.exit_code == 2
    assert "add --yes" in asked.stderr
    assert trusted(data)

    removed = provision("--destroy", "--yes", SESGATE_SES_CONFIGURATION_SET=f"sesgate-{provision.scope}")
    assert removed.exit_code == 0, removed.output
    assert "SES refuses all mail of this gateway" in removed.stderr
    assert trusted(data) == frozenset()
    arns = [one["TopicArn"] for one in sandbox.client("sns").list_topics()["Topics"]]
    assert topic(provision) not in arns
    assert "arn:aws:sns:us-east-1:000000000000:sesgate" in arns  # what the sandbox itself came with

    assert "There is nothing" in provision("--destroy", "--yes").stdout


def test_destroy_forgets_a_topic_that_somebody_deleted_by_hand(provision, data, sandbox):
    provision("--queue")
    provision("--destroy", "--yes")
    provision("--queue")
    sandbox.client("sns").delete_topic(TopicArn=topic(provision))
    assert provision("--destroy", "--yes").exit_code == 0
    assert trusted(data) == frozenset()


def test_terraform_needs_neither_credentials_nor_a_database(sesgate):
    result = sesgate("provision", "--queue", "--output", "terraform")
    assert result.exit_code == 0, result.output
    assert 'resource "aws_sns_topic" "feedback" {' in result.stdout


def test_the_plan_as_json_is_for_scripts(provision, data):
    shown = json.loads(provision("--queue", "--output", "json").stdout)
    assert shown["changes"] == 7
    assert shown["steps"][0]["attributes"]["SignatureVersion"] == "2"
    assert shown["env"]["SESGATE_SES_CONFIGURATION_SET"] == f"sesgate-{provision.scope}"
    assert set(shown["iam"]) == {"gateway", "sender", "webhook", "queue", "suppressions", "doctor", "operator"}
    assert trusted(data) == frozenset()


def test_the_iam_policies_are_to_be_had_before_anything_is_allowed(provision, sandbox):
    sandbox.set_faults(
        error_rate=1.0,
        error_code="AccessDeniedException",
        error_status=403,
        error_operations=["ListEmailIdentities", "ListEmailIdentities_GET", "GetTopicAttributes"],
    )
    result = provision("--queue", "--output", "iam")
    assert result.exit_code == 0, result.output
    assert "sns:CreateTopic" in str(json.loads(result.stdout)["operator"])
    assert "identity/*" in result.stdout


def test_the_iam_policy_of_the_gateway_goes_to_a_file(provision, tmp_path):
    result = provision("--queue", "--iam-policy", str(tmp_path / "policy.json"))
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "policy.json").read_text())["Version"] == "2012-10-17"
    assert "ses:SendRawEmail" not in result.stdout


def test_a_file_that_is_no_policy_is_not_written_over_and_nothing_is_made(provision, tmp_path):
    for text in ("SESGATE_WORKERS=3\n", "[1, 2]", "7"):
        (tmp_path / ".env").write_text(text)
        result = provision("--queue", "--iam-policy", ".env")
        assert result.exit_code == 2
        assert ".env is there and is no IAM policy" in result.stderr
        assert (tmp_path / ".env").read_text() == text
        (tmp_path / ".env").unlink()
    assert "=" not in marks(provision("--queue", "--dry-run"))


def test_a_file_of_variables_that_cannot_be_read_stops_it_before_anything_is_made(provision, tmp_path):
    (tmp_path / "gateway.env").write_bytes(b"A=\xff\n")
    result = provision("--queue", "--env-file", "gateway.env")
    assert (result.exit_code, "is not UTF-8" in result.stderr) == (1, True)
    assert "=" not in marks(provision("--queue", "--dry-run"))


def test_lines_that_cannot_be_written_are_shown(provision, tmp_path):
    result = provision("--queue", "--env-file", str(tmp_path / "missing" / ".env"))
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr
    assert f"SESGATE_SES_CONFIGURATION_SET=sesgate-{provision.scope}" in result.stdout


def test_the_lines_for_the_gateway_go_into_its_env_file(provision, tmp_path):
    file = tmp_path / "gateway.env"
    file.write_text("# ours\nSESGATE_SES_CONFIGURATION_SET=old\nSESGATE_WORKERS=3\n")
    result = provision("--queue", "--env-file", str(file))
    assert result.exit_code == 0, result.output
    first, chosen, kept, *added = file.read_text().splitlines()
    assert (first, kept) == ("# ours", "SESGATE_WORKERS=3")
    assert chosen == f"SESGATE_SES_CONFIGURATION_SET=sesgate-{provision.scope}"
    assert f"SESGATE_SNS_TOPIC_ARNS={topic(provision)}" in added
    assert "has all of it already" in provision("--queue", "--env-file", str(file)).stdout


def test_the_classic_wiring_says_what_it_lacks(provision, sandbox):
    ses = sandbox.client("sesv2")
    for name in ("example.com", "shop@example.com"):
        ses.create_email_identity(EmailIdentity=name)
    unknown = provision("--queue", "--classic", "--identity", "nowhere.example")
    assert unknown.exit_code == 1
    assert "nowhere.example: no identity of this account" in unknown.stderr
    result = provision("--queue", "--classic", "--identity", "example.com")
    assert result.exit_code == 0, result.output
    assert "weaker mode" in result.stderr
    assert "shop@example.com: an address that is an identity of its own" in result.stderr
    assert "SESGATE_FEEDBACK=identity\n" in result.stdout
    assert provision("--queue", "--classic", "--identity", "example.com").stdout.startswith("Nothing to change")
    assert provision("--destroy", "--yes").exit_code == 0


def test_a_database_of_a_real_account_takes_no_part_in_a_simulation(provision, tmp_path):
    directory = tmp_path / "real"
    directory.mkdir(mode=0o700)
    migrate(sqlite_settings(directory).database, "aws")
    provision.environ["SESGATE_DATA_DIR"] = str(directory)
    result = provision("--queue")
    assert result.exit_code == 1
    assert "belongs to a real AWS account" in result.stderr


def test_services_that_are_asked_at_different_places_are_refused(provision):
    result = provision("--queue", AWS_ENDPOINT_URL_SNS="https://sns.eu-west-1.amazonaws.com")
    assert result.exit_code == 2
    assert "sns would be asked at https://sns.eu-west-1.amazonaws.com, which is AWS, and sesv2 at" in result.stderr


@pytest.fixture
def bare(sesgate, tmp_path):
    """Runs `sesgate provision` for AWS itself with no credentials: nothing can reach it by mistake."""

    def run(*arguments, **more):
        none = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(tmp_path / "none"))
        return sesgate(
            "provision", *arguments, **{"AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true"} | none | more
        )

    return run


def test_without_credentials_the_sentence_says_how_to_give_them(bare, tmp_path):
    directory = tmp_path / "real"
    directory.mkdir(mode=0o700)
    migrate(sqlite_settings(directory).database, "aws")
    for arguments in (["--queue"], ["--destroy"], ["--queue", "--output", "iam"]):
        result = bare(*arguments, SESGATE_DATA_DIR=str(directory))
        assert result.exit_code == 1
        assert "AWS_ACCESS_KEY_ID" in result.stderr


@pytest.mark.parametrize("arguments", [["--queue"], ["--destroy", "--yes"]])
def test_a_database_of_the_simulation_is_never_wired_to_a_real_account(bare, data, arguments):
    result = bare(*arguments, SESGATE_DATA_DIR=str(data))
    assert result.exit_code == 1
    assert "accepted for the simulated AWS" in result.stderr


@pytest.fixture
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def test_on_an_emulator_that_knows_less_it_goes_as_far_as_it_can_and_trusts_nothing(provision, data, moto):
    provision.environ |= {"AWS_ENDPOINT_URL": moto}
    result = provision("--queue")
    assert result.exit_code == 1
    assert "what it signs cannot be verified" in result.stderr
    assert "does not know ses:CreateConfigurationSetEventDestination" in result.stderr
    assert "Not made, for what answers in place of AWS does not know how: event destination sesgate." in result.stderr
    assert "SESGATE_FEEDBACK_QUEUE_URL=" in result.stdout
    assert trusted(data) == frozenset()
    assert provision("--destroy", "--yes").exit_code == 0
    assert "There is nothing" in provision("--destroy", "--yes").stdout


def test_the_waiting_is_told_what_the_webhook_sees(provision, data, monkeypatch):
    """What the webhook writes into the control store while it is waited for."""
    stores = open_stores(sqlite_settings(data))
    told = []

    def wait_for(_aws, awaited, *, seconds, say):
        stores.control.put(
            HEARD,
            {
                "webhook": {
                    "refused": {"at": "2126-01-01T00:00:00Z", "topic": topic(provision), "reason": "Raw delivery."}
                }
            },
        )
        say(awaited)
        told.append(seconds)
        return tuple(awaited)

    monkeypatch.setattr(provision_run, "wait_for", wait_for)
    result = provision("--webhook-url", "http://127.0.0.1:1/sns")
    stores.close()
    assert told == [120.0]
    assert result.exit_code == 1
    assert "1 pending: a message reached the webhook, which refused it (Raw delivery)" in result.stderr
    assert "same database" in result.stderr
