"""All checks of AWS against the simulated one, where no webhook is needed: permissions, and the weaker mode."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, PatientAws, Situation
from gateway.aws.checks.everything import look_at_aws
from gateway.aws.provisioning.apply import apply
from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.options import Options
from gateway.findings import Ledger, Level
from gateway.setting_values import QueueUrl
from tests.gateway.aws.provisioning.conftest import Wiring
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def aws(sandbox, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    sandbox.set_faults()
    return PatientAws(interval=0, seconds=60)


def wire(aws, **options):
    made = Wiring(aws, Options(environment="checks", queue=True, **options))
    apply(made.plan(), made.applier.carry_out, lambda _step: None)
    return made


def look(aws, situation):
    ledger = Ledger()
    look_at_aws(ledger, aws, situation, lookup=lambda _question: ())
    return {finding.check: finding for finding in ledger.findings}


def of_level(found, level):
    return [check for check, finding in found.items() if finding.level is level]


@pytest.fixture
def situation(aws, sandbox):
    wired = wire(aws)
    return Situation(
        configuration_sets=(wired.names.configuration_set,),
        trusted_topics=frozenset(wired.trusted),
        queue=QueueUrl(wired.reader.queue(wired.names.queue).url),
        pinned_certificate=Path(sandbox.certificate_file),
    )


def test_a_gateway_that_only_reads_a_queue_is_green(aws, situation):
    found = look(aws, situation)
    assert of_level(found, Level.FAILED) == of_level(found, Level.WARNING) == []
    assert found["policy of the feedback queue"].level is Level.OK
    assert found["dead letters in sesgate-checks-feedback-dead"].seen == "empty"


OPERATIONS = {
    "GetAccount": "ses:GetAccount",
    "ListEmailIdentities": "ses:ListEmailIdentities",
    "GetConfigurationSet": "ses:GetConfigurationSet",
    "GetConfigurationSetEventDestinations": "ses:GetConfigurationSetEventDestinations",
    "GetTopicAttributes": "sns:GetTopicAttributes",
    "ListSubscriptionsByTopic": "sns:ListSubscriptionsByTopic",
    "GetSubscriptionAttributes": "sns:GetSubscriptionAttributes",
    "GetQueueUrl": "sqs:GetQueueUrl",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "ListSuppressedDestinations": "ses:ListSuppressedDestinations",
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_may_not_be_looked_at_is_a_warning_that_names_the_action(aws, situation, sandbox, operation):
    sandbox.set_faults(error_code="AccessDeniedException", error_calls=1000, error_operations=[operation])
    found = look(aws, situation)
    sandbox.set_faults()
    assert of_level(found, Level.FAILED) == []
    assert [one for one in found.values() if f"Allow {OPERATIONS[operation]} " in one.fix]


def test_an_identity_may_not_be_looked_at_either(aws, situation, sandbox):
    ses = sandbox.client("sesv2")
    ses.create_email_identity(EmailIdentity="example.org")
    sandbox.set_faults(error_code="AccessDeniedException", error_calls=1000, error_operations=["GetEmailIdentity"])
    found = look(aws, situation)
    sandbox.set_faults()
    assert "ses:GetEmailIdentity" in found["DKIM of example.org"].seen
    assert look(aws, situation)["DKIM of example.org"].level is Level.OK
    ses.delete_email_identity(EmailIdentity="example.org")


def test_the_weaker_mode_looks_at_the_notifications_of_identities(aws, sandbox):
    ses = sandbox.client("sesv2")
    ses.create_email_identity(EmailIdentity="example.com")
    wired = wire(aws, classic=True, identities=("example.com",))
    situation = Situation(
        feedback="identity",
        trusted_topics=frozenset(wired.trusted),
        queue=QueueUrl(wired.reader.queue(wired.names.queue).url),
        pinned_certificate=Path(sandbox.certificate_file),
    )
    found = look(aws, situation)
    assert of_level(found, Level.FAILED) == []
    assert found["notifications of example.com"].level is Level.OK
    assert {"topic ses-bounces-topic-checks", "topic ses-complaints-topic-checks"} <= set(found)

    sandbox.client("ses").set_identity_headers_in_notifications_enabled(
        Identity="example.com", NotificationType="Bounce", Enabled=False
    )
    assert look(aws, situation)["notifications of example.com"].level is Level.WARNING

    ses.put_email_identity_feedback_attributes(EmailIdentity="example.com", EmailForwardingEnabled=True)
    for kind in ("Bounce", "Complaint", "Delivery"):
        sandbox.client("ses").set_identity_notification_topic(Identity="example.com", NotificationType=kind)
    found = look(aws, situation)
    ses.delete_email_identity(EmailIdentity="example.com")
    assert of_level(found, Level.FAILED) == ["notifications of identities"]


def test_credentials_that_are_refused_are_the_one_thing_that_is_named(aws, situation, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = look(PatientAws(interval=0, seconds=60), situation)
    assert of_level(found, Level.FAILED) == ["credentials"]
    assert "AWS_PROFILE" in found["credentials"].seen + found["credentials"].fix
    assert found["account"].seen == "needs credentials"


def test_a_queue_that_has_an_endpoint_of_its_own_is_left_to_its_reader(aws, situation):
    found = look(aws, replace(situation, queue_is_elsewhere=True))
    assert found["feedback queue"].level is Level.SKIPPED
    assert of_level(found, Level.FAILED) == []


def test_a_queue_in_another_region_is_asked_there(aws, situation):
    desk = Desk(aws, Place("000000000000", "us-east-1"), situation, datetime.now(UTC))
    assert desk.aws_of(None) is desk.aws_of("us-east-1") is aws
    assert desk.aws_of("eu-west-1").region == "eu-west-1"


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def patient(clock, **given):
    return PatientAws(**({"interval": 1.0, "seconds": 10.0} | given), clock=clock, sleep=clock.sleep)


def test_each_operation_is_asked_once_a_second_at_most(aws):
    clock = Clock()
    calls = patient(clock)
    for _ in range(3):
        calls.call("sesv2", "GetAccount")
    calls.call("sts", "GetCallerIdentity")
    assert clock.slept == [1.0, 1.0]


def test_when_the_time_is_over_nothing_is_asked_any_more(aws):
    clock = Clock()
    calls = patient(clock, seconds=1.5)
    calls.call("sesv2", "GetAccount")
    calls.call("sesv2", "GetAccount")
    with pytest.raises(AwsCallError, match="no time left"):
        calls.call("sesv2", "GetAccount")


def test_being_throttled_is_waited_out_for_a_few_seconds_only(aws, sandbox):
    clock = Clock()
    sandbox.set_faults(throttle=True, error_operations=["GetAccount"])
    with pytest.raises(AwsCallError, match="no time left"):
        patient(clock, seconds=60).call("sesv2", "GetAccount")
    sandbox.set_faults()
    assert clock.slept == [1.1, 2.0, 4.0]
