"""`sesgate doctor` beside a real installation that `provision` has wired: green, then one link broken at a time."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from gateway.aws.checks.asking import PatientAws
from gateway.aws.provisioning.apply import Applier, apply
from gateway.aws.provisioning.confirmation import wait_for
from gateway.aws.provisioning.names import TAG
from gateway.aws.provisioning.options import Options
from gateway.cli import doctor_local
from gateway.cli.doctor import Outside, examine
from gateway.findings import Level
from gateway.sandbox.environment import child_environment
from gateway.settings import Settings
from gateway.store.control import FEEDBACK_QUEUE, HEARD
from gateway.store.stores import open_stores
from gateway.store.trusted_topics import forget_topics, trust_topics
from tests.gateway.aws.provisioning.conftest import SIMULATED, Wiring
from tests.support.installation import SESGATE
from tests.support.ports import free_port
from tests.support.waiting import until

SET = "sesgate-doctor"
TOPIC = "sesgate-doctor-feedback"
TOPIC_ARN = SIMULATED.arn("sns", TOPIC)


@pytest.fixture(autouse=True)
def environment(installation, monkeypatch, tmp_path):
    """That of a shell beside the installation, with what provision has made."""
    wanted = {
        **{name: value for name, value in installation.environ.items() if name.startswith("SESGATE_")},
        **child_environment(f"http://127.0.0.1:{installation.sandbox_port}", topic_arns=(), configuration_set=SET),
    }
    for name, value in wanted.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor_local, "_PING_TIMEOUT", 0.5)
    return monkeypatch


@pytest.fixture
def stores(installation):
    opened = open_stores(Settings(data_dir=installation.directory))
    yield opened
    opened.close()


class Wired(Wiring):
    """The set-up under test, with the topics trusted in the installation's database."""

    def mend(self, stores):
        """What `sesgate provision` does."""
        applier = Applier(
            self.aws,
            (TAG, self.options.scope),
            trust=lambda arns: trust_topics(stores.db, arns, actor="test"),
            warn=lambda _sentence: None,
        )
        self.trusted.clear()
        apply(self.plan(), applier.carry_out, lambda _step: None)
        assert wait_for(self.aws, applier.awaited, seconds=60, say=lambda _pending: None) == ()


def wire(installation, environment):
    url = f"http://127.0.0.1:{installation.webhook_port}/sns"
    options = Options(environment=environment, webhook_url=url, queue=True, may_be_plain=True)
    return Wired(PatientAws(interval=0, seconds=600), options)


@pytest.fixture
def wired(installation, environment, stores):
    """Mended before the first test that needs it, and after each that breaks it."""
    made = wire(installation, "doctor")
    if not hasattr(installation, "is_wired"):
        made.mend(stores)
        installation.is_wired = True
    return made


@pytest.fixture
def breakable(wired, stores):
    yield wired
    wired.mend(stores)


def look(*, now=lambda: datetime.now(UTC)):
    """All findings, by the names of their checks."""

    def outside():
        return Outside(PatientAws(interval=0, seconds=30), now, lookup=lambda _question: ())

    found = examine(lambda _finding: None, outside)
    assert len({finding.check for finding in found}) == len(found)
    return {finding.check: finding for finding in found}


def broken(found):
    return [check for check, finding in found.items() if finding.level is Level.FAILED]


def warned(found):
    return [check for check, finding in found.items() if finding.level is Level.WARNING]


def client(service):
    return boto3.session.Session().client(service)


def subscription():
    listed = client("sns").list_subscriptions_by_topic(TopicArn=TOPIC_ARN)["Subscriptions"]
    confirmed = [one for one in listed if one["SubscriptionArn"].startswith("arn:")]
    return next(one for one in confirmed if one["Protocol"] == "http")


def queue_url(name):
    return client("sqs").get_queue_url(QueueName=name)["QueueUrl"]


def test_after_provision_nothing_is_broken_and_nothing_is_to_be_mended(installation, environment, stores):
    wire(installation, "green").mend(stores)
    environment.setenv("SESGATE_SES_CONFIGURATION_SET", "sesgate-green")
    found = look()
    assert broken(found) == []
    assert set(warned(found)) <= {"refused reports"}  # of another test
    assert found["subscription to sesgate-green-feedback"].seen.startswith("confirmed: http://127.0.0.1:")


def test_as_an_operator_types_it(wired, installation):
    done = subprocess.run([*SESGATE, "doctor"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("skipped).\n")
    assert "Nothing is broken" in done.stdout
    assert "\x1b" not in done.stdout


# What is broken at AWS


def unsubscribe(installation):
    client("sns").unsubscribe(SubscriptionArn=subscription()["SubscriptionArn"])


def subscribe_closed_port(installation):
    unsubscribe(installation)
    client("sns").subscribe(TopicArn=TOPIC_ARN, Protocol="http", Endpoint=f"http://127.0.0.1:{free_port()}/sns")


def set_raw(installation):
    client("sns").set_subscription_attributes(
        SubscriptionArn=subscription()["SubscriptionArn"],
        AttributeName="RawMessageDelivery",
        AttributeValue="true",
    )


def shut_ses_out(installation):
    policy = json.loads(client("sns").get_topic_attributes(TopicArn=TOPIC_ARN)["Attributes"]["Policy"])
    policy["Statement"][0]["Condition"]["StringEquals"]["AWS:SourceArn"] += "-other"
    client("sns").set_topic_attributes(TopicArn=TOPIC_ARN, AttributeName="Policy", AttributeValue=json.dumps(policy))


def pause_account(installation):
    installation._put("account", {"sending_enabled": False})


def shut_account_down(installation):
    installation._put("account", {"enforcement_status": "SHUTDOWN"})


def use_quota_up(installation):
    installation._put("account", {"max_24_hour_send": 0})


def make_unverified_identity(installation):
    client("sesv2").create_email_identity(EmailIdentity="unverified.example.com")


def disable_destination(installation):
    client("sesv2").update_configuration_set_event_destination(
        ConfigurationSetName=SET, EventDestinationName="sesgate", EventDestination={"Enabled": False}
    )


def drop_bounces(installation):
    client("sesv2").update_configuration_set_event_destination(
        ConfigurationSetName=SET, EventDestinationName="sesgate", EventDestination={"MatchingEventTypes": ["SEND"]}
    )


def remove_destination(installation):
    client("sesv2").delete_configuration_set_event_destination(ConfigurationSetName=SET, EventDestinationName="sesgate")


def remove_set(installation):
    client("sesv2").delete_configuration_set(ConfigurationSetName=SET)


def pause_set(installation):
    client("sesv2").put_configuration_set_sending_options(ConfigurationSetName=SET, SendingEnabled=False)


def remove_topic(installation):
    client("sns").delete_topic(TopicArn=TOPIC_ARN)


BROKEN_AT_AWS = {
    "unsubscribed": (unsubscribe, f"subscription to {TOPIC}", "sesgate provision --webhook-url"),
    "webhook unreachable": (subscribe_closed_port, "webhook at http://127.0.0.1:", "open its port in the firewall"),
    "raw delivery on": (set_raw, f"raw delivery of {TOPIC}", "--attribute-name RawMessageDelivery"),
    "wrong topic policy": (shut_ses_out, f"policy of topic {TOPIC}", f"configuration-set/{SET}"),
    "unverified identity": (make_unverified_identity, "identities", "CNAMEs of unverified.example.com"),
    "sending paused": (pause_account, "account", "put-account-sending-attributes --sending-enabled"),
    "shut down": (shut_account_down, "account", "Support Center"),
    "quota used up": (use_quota_up, "quota", "Service Quotas"),
    "event destination disabled": (disable_destination, f"event destination of {SET}", "Enabled=true"),
    "event types missing": (drop_bounces, f"event destination of {SET}", "Add the event types"),
    "event destination removed": (remove_destination, f"event destination of {SET}", "sesgate provision"),
    "configuration set removed": (remove_set, f"configuration set {SET}", "SESGATE_SES_CONFIGURATION_SET"),
    "configuration set paused": (pause_set, f"configuration set {SET}", "--sending-enabled"),
    "topic deleted": (remove_topic, f"topic {TOPIC}", "sesgate provision"),
}


@contextmanager
def broken_at_aws(installation, link):
    BROKEN_AT_AWS[link][0](installation)
    try:
        yield
    finally:
        installation._put("account", {})
        for identity in client("sesv2").list_email_identities()["EmailIdentities"]:
            client("sesv2").delete_email_identity(EmailIdentity=identity["IdentityName"])


@pytest.mark.parametrize("link", BROKEN_AT_AWS)
def test_a_link_that_is_broken_at_aws_is_named_alone_with_its_fix(breakable, installation, link):
    _, check, fix = BROKEN_AT_AWS[link]
    with broken_at_aws(installation, link):
        found = look()
    (name,) = broken(found)
    assert name.startswith(check)
    assert fix in found[name].fix


def test_a_subscription_that_nobody_confirms_is_named_with_what_the_webhook_saw(breakable, installation, stores):
    sentence = "User: x is not authorized to perform: SNS:ConfirmSubscription"
    unsubscribe(installation)
    installation.set_faults(
        error_code="AuthorizationError",
        error_calls=1000,
        error_message=sentence,
        error_operations=["ConfirmSubscription"],
    )
    try:
        url = breakable.options.webhook_url
        client("sns").subscribe(TopicArn=TOPIC_ARN, Protocol="http", Endpoint=url)
        until(lambda: sentence in json.dumps((stores.control.get(HEARD) or {}).get("webhook", {}).get("not-confirmed")))
        found = look()
    finally:
        installation.set_faults()
    assert broken(found) == [f"subscription to {TOPIC}"]
    assert sentence in found[f"subscription to {TOPIC}"].seen
    assert "sns:ConfirmSubscription" in found[f"subscription to {TOPIC}"].fix


def test_a_topic_that_is_not_trusted_here_is_named(breakable, stores):
    forget_topics(stores.db, [TOPIC_ARN], actor="test")
    found = look()
    assert broken(found) == ["trust"]
    assert f"SESGATE_SNS_TOPIC_ARNS={TOPIC_ARN}" in found["trust"].fix


@pytest.fixture
def reading(environment, breakable, stores):
    """A gateway that reads the queue, too."""
    environment.setenv("SESGATE_FEEDBACK_QUEUE_URL", queue_url(TOPIC))
    stores.control.put(FEEDBACK_QUEUE, {"reading": True, "reason": "", "since": datetime.now(UTC).isoformat()})


def test_a_queue_that_sns_may_not_fill_is_named(reading):
    assert broken(look()) == []
    client("sqs").set_queue_attributes(QueueUrl=queue_url(TOPIC), Attributes={"Policy": ""})
    found = look()
    assert broken(found) == ["policy of the feedback queue"]
    assert TOPIC_ARN in found["policy of the feedback queue"].fix


def test_a_queue_that_is_not_there_is_named(reading, environment):
    environment.setenv("SESGATE_FEEDBACK_QUEUE_URL", queue_url(TOPIC) + "-other")
    assert broken(look()) == ["feedback queue"]


def test_a_reader_that_does_not_read_is_named(reading, stores):
    stores.control.put(FEEDBACK_QUEUE, {"reading": False, "reason": "AWS denied it.", "since": ""})
    found = look()
    assert broken(found) == ["queue reader"]
    assert "AWS denied it." in found["queue reader"].seen


def test_dead_letters_are_a_warning_with_the_command_that_takes_them_in(wired):
    url = queue_url(f"{TOPIC}-dead")
    client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    try:
        found = look()
    finally:
        client("sqs").purge_queue(QueueUrl=url)
    assert broken(found) == []
    assert f"sesgate feedback-queue redrive {url}" in found[f"dead letters in {TOPIC}-dead"].fix


# What is broken here


def elsewhere(installation, tmp_path):
    """A copy of the database, on which no program works."""
    target = tmp_path / "copy.db"
    with sqlite3.connect(f"file:{installation.directory / 'sesgate.db'}?mode=ro", uri=True) as source:
        with sqlite3.connect(target) as copy:
            source.backup(copy)
        copy.close()
    source.close()
    return target


def old_schema(installation, tmp_path):
    target = elsewhere(installation, tmp_path)
    with sqlite3.connect(target) as copy:
        copy.execute("DELETE FROM schema_migrations WHERE name = (SELECT max(name) FROM schema_migrations)")
    copy.close()
    return target


def at(path):
    return f"sqlite:///{path}"


BROKEN_HERE = {
    "unknown setting": (lambda *_: {"SESGATE_FOO": "1"}, "settings", "sesgate settings"),
    "wrong region": (
        lambda *_: {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"},
        "region",
        "AWS_REGION=us-east-1",
    ),
    "database away": (
        lambda *_: {"SESGATE_DATABASE_URL": "sqlite:////nowhere/x.db"},
        "database",
        "SESGATE_DATABASE_URL",
    ),
    "schema old": (
        lambda installation, tmp_path: {"SESGATE_DATABASE_URL": at(old_schema(installation, tmp_path))},
        "schema",
        "sesgate migrate",
    ),
    "dispatcher dead": (
        lambda installation, tmp_path: {"SESGATE_DATABASE_URL": at(elsewhere(installation, tmp_path))},
        "dispatcher",
        "celery -A tasks worker",
    ),
    "front away": (lambda *_: {"SESGATE_LISTENERS": f"127.0.0.1:{free_port()}"}, "SMTP on", "sesgate smtp"),
    "webhook away": (lambda *_: {"SESGATE_WEBHOOK_LISTEN": f"127.0.0.1:{free_port()}"}, "webhook", "sesgate webhook"),
    "other AWS": (lambda *_: {"AWS_ENDPOINT_URL": "https://email.us-east-1.amazonaws.com"}, "stamp", "sandbox env"),
    "no configuration set": (
        lambda *_: {"SESGATE_SES_CONFIGURATION_SET": ""},
        "configuration set",
        "SESGATE_FEEDBACK=identity",
    ),
    "another configuration set": (
        lambda *_: {"SESGATE_SES_CONFIGURATION_SET": "other"},
        "configuration set other",
        "sesgate provision",
    ),
    "no room": (lambda *_: {"SESGATE_MIN_FREE_BYTES": "900000GiB"}, "disk", "Make room"),
    "no certificate": (
        lambda *_: {"SESGATE_TLS_CERT_FILE": "/nowhere", "SESGATE_TLS_KEY_FILE": "/nowhere"},
        "TLS certificate",
        "Correct the files",
    ),
    "endpoint away": (lambda *_: {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}, "credentials", "network"),
}


@pytest.mark.parametrize("link", BROKEN_HERE)
def test_a_link_that_is_broken_here_is_named_alone_with_its_fix(wired, installation, environment, tmp_path, link):
    change, check, fix = BROKEN_HERE[link]
    for name, value in change(installation, tmp_path).items():
        environment.setenv(name, value)
    found = look()
    (name,) = broken(found)
    assert name.startswith(check)
    assert fix in found[name].fix


@pytest.mark.parametrize("minutes", [20, -20])
def test_a_clock_that_is_wrong_is_named(wired, minutes):
    found = look(now=lambda: datetime.now(UTC) + timedelta(minutes=minutes))
    assert broken(found) == ["clock"]
    assert "NTP" in found["clock"].fix
    assert found["account"].seen == "needs clock"


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
@pytest.mark.parametrize("offset", ["+20m", "-20m"])
def test_a_machine_whose_clock_is_wrong_says_so_and_nothing_else(wired, offset):
    done = subprocess.run(
        ["faketime", "-f", offset, *SESGATE, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert [finding["check"] for finding in found if finding["level"] == "failed"] == ["clock"]


def test_a_pause_and_a_wide_network_are_warnings(wired, installation, environment):
    environment.setenv("SESGATE_TRUSTED_NETWORKS", "127.0.0.0/8, 0.0.0.0/0")
    assert installation.cli("queue", "pause", "--reason", "a test").returncode == 0
    try:
        found = look()
    finally:
        assert installation.cli("queue", "resume").returncode == 0
    assert broken(found) == []
    assert {"sending", "trusted networks"} <= set(warned(found))
    assert "a test" in found["sending"].seen


def test_a_broker_that_is_away_is_a_warning(wired, environment):
    environment.setenv("SESGATE_BROKER_URL", f"redis://user:s3cret@127.0.0.1:{free_port()}/0")
    found = look()
    assert broken(found) == []
    assert "broker" in warned(found)
    assert "s3cret" not in repr(found)
    assert found["workers"].seen == "needs broker"


def test_when_all_is_mended_all_is_green_again(wired):
    assert broken(look()) == []
