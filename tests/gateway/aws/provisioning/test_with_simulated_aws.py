"""The calls themselves, against the simulated AWS: from nothing, again, changed, broken off, and taken away."""

from __future__ import annotations

import json

import pytest

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.apply import ApplyError, apply
from gateway.aws.provisioning.confirmation import wait_for
from gateway.aws.provisioning.destroy import Remover, farewell, take_inventory
from gateway.aws.provisioning.found import Reader, caller
from gateway.aws.provisioning.names import TAG
from gateway.aws.provisioning.plan import Action
from gateway.aws.provisioning.wanted import Kind
from tests.gateway.aws.provisioning.conftest import SIMULATED, Recording, Wiring


def make(wiring):
    """Everything, by a plan and its steps; the applier."""
    applier = wiring.applier
    outcome = apply(wiring.plan(), applier.carry_out, lambda _step: None)
    assert outcome.is_complete
    assert outcome.skipped == ()
    return applier


def remove(wiring):
    goodbye = farewell(take_inventory(wiring.reader, wiring.names), wiring.names)
    remover = Remover(wiring.aws, goodbye.topics)
    for removal in goodbye.removals:
        remover.remove(removal)
    return goodbye


def pending_only(plan):
    """Whether all is as it shall be, but for the webhook that nobody runs here."""
    return {one.attribute for step in plan.changes for one in step.differences} == {"Confirmed"}


def test_the_account_is_that_of_the_credentials(aws):
    assert caller(aws)[0] == SIMULATED


def test_from_nothing_everything_is_made_and_the_second_time_nothing_is_changed(wiring):
    queue_only = wiring(webhook_url=None)
    applier = make(queue_only)
    assert queue_only.trusted == {f"arn:aws:sns:us-east-1:000000000000:{queue_only.names.topic}"}
    assert wait_for(queue_only.aws, applier.awaited, seconds=10, say=lambda _pending: None) == ()
    again = queue_only.plan()
    assert [step.resource.title for step in again.steps if step.action is not Action.UNCHANGED] == []
    recording = Recording(queue_only.aws)
    watched = Wiring(recording, queue_only.options, trusted=queue_only.trusted)  # type: ignore[arg-type]
    apply(watched.plan(), watched.applier.carry_out, lambda _step: None)
    assert recording.changing == []
    assert len(recording.calls) > 10


def test_a_report_of_ses_comes_out_of_the_queue(wiring, sandbox):
    wired = wiring(webhook_url=None)
    make(wired)
    sandbox.client("sesv2").send_email(
        FromEmailAddress="app@example.com",
        Destination={"ToAddresses": ["success@simulator.amazonses.com"]},
        Content={"Raw": {"Data": b"From: app@example.com\r\n\r\nhello\r\n"}},
        ConfigurationSetName=wired.names.configuration_set,
    )
    queue = wired.reader.queue(wired.names.queue)
    assert queue is not None
    seen = set()
    while "Delivery" not in seen:
        answer = sandbox.client("sqs").receive_message(QueueUrl=queue.url, WaitTimeSeconds=10, MaxNumberOfMessages=10)
        assert answer.get("Messages"), seen
        for message in answer["Messages"]:
            told = json.loads(message["Body"])["Message"]
            seen.add(json.loads(told)["eventType"])


def test_the_webhooks_subscription_is_patient_and_has_a_dead_letter_queue(wiring, sandbox):
    wired = wiring()
    (awaited, _) = make(wired).awaited
    attributes = sandbox.client("sns").get_subscription_attributes(SubscriptionArn=awaited.arn)["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith(wired.names.dead_queue)
    assert json.loads(attributes["DeliveryPolicy"])["healthyRetryPolicy"]["numRetries"] == 50
    assert attributes["PendingConfirmation"] == "true"
    assert pending_only(wired.plan())


def test_a_webhook_with_a_password_that_is_never_shown_again_is_found_again(wiring):
    wired = wiring(webhook_url="http://user:s3cret@127.0.0.1:1/sns", queue=False)
    (awaited,) = make(wired).awaited
    (found,) = wired.reader.subscriptions(SIMULATED.arn("sns", wired.names.topic))
    assert found.attributes["Endpoint"] == "http://user:****@127.0.0.1:1/sns"
    assert found.name == awaited.resource.name
    assert pending_only(wired.plan())


def set_topic(sns, wired, name, value):
    arn = SIMULATED.arn("sns", wired.names.topic)
    sns.set_topic_attributes(TopicArn=arn, AttributeName=name, AttributeValue=value)


SPOILT = {
    "SignatureVersion": lambda box, wired: set_topic(box.client("sns"), wired, "SignatureVersion", "1"),
    "Policy": lambda box, wired: set_topic(box.client("sns"), wired, "Policy", '{"Statement": []}'),
    "VisibilityTimeout": lambda box, wired: box.client("sqs").set_queue_attributes(
        QueueUrl=wired.reader.queue(wired.names.queue).url, Attributes={"VisibilityTimeout": "7"}
    ),
    "SendingEnabled": lambda box, wired: box.client("sesv2").put_configuration_set_sending_options(
        ConfigurationSetName=wired.names.configuration_set, SendingEnabled=False
    ),
    "Enabled": lambda box, wired: box.client("sesv2").update_configuration_set_event_destination(
        ConfigurationSetName=wired.names.configuration_set,
        EventDestinationName="sesgate",
        EventDestination={"Enabled": False},
    ),
    "RawMessageDelivery": lambda box, wired: box.client("sns").set_subscription_attributes(
        SubscriptionArn=wired.reader.subscriptions(SIMULATED.arn("sns", wired.names.topic))[0].arn,
        AttributeName="RawMessageDelivery",
        AttributeValue="true",
    ),
}


@pytest.mark.parametrize("attribute", SPOILT)
def test_one_attribute_that_somebody_changed_is_put_right_and_only_that(wiring, sandbox, attribute):
    wired = wiring(webhook_url=None)
    make(wired)
    SPOILT[attribute](sandbox, wired)
    (step,) = wired.plan().changes
    assert [one.attribute for one in step.differences] == [attribute]
    make(wired)
    assert wired.plan().changes == ()


def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(wiring):
    steps = len(wiring().plan().steps)
    for alive in range(steps):
        wired = wiring(environment=f"killed-{alive}", webhook_url=None)
        left = [alive]
        applier = wired.applier

        def carry_out(step, applier=applier, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            applier.carry_out(step)

        try:
            apply(wired.plan(), carry_out, lambda _step: None)
        except KeyboardInterrupt:
            assert wired.plan().changes
        make(wired)
        assert wired.plan().changes == ()


def test_the_first_failure_ends_it_with_what_was_done_and_how_to_go_on(wiring, sandbox):
    wired = wiring()
    sandbox.set_faults(
        error_rate=1.0,
        error_code="AccessDeniedException",
        error_status=403,
        error_message="User: x is not authorized to perform: ses:CreateConfigurationSet",
        error_operations=["CreateConfigurationSet"],
    )
    with pytest.raises(ApplyError) as raised:
        apply(wired.plan(), wired.applier.carry_out, lambda _step: None)
    sandbox.set_faults()
    sentence = str(raised.value)
    assert f"It stopped at configuration set {wired.options.scope}. AWS denied ses:CreateConfigurationSet" in sentence
    assert f"Done before: topic {wired.names.topic}, queue" in sentence
    assert sentence.endswith("Run the same command again to go on from there.")
    make(wired)


def test_the_end_that_somebody_asked_for_comes_between_two_steps(wiring):
    done = []
    assert not apply(wiring().plan(), done.append, done.append, ending=lambda: len(done) >= 4).is_complete
    assert len(done) == 4  # two steps, carried out and told


def test_what_has_the_name_and_not_our_tag_is_taken_over_only_on_demand(wiring, sandbox):
    wired = wiring(webhook_url=None)
    sandbox.client("sns").create_topic(Name=wired.names.topic)
    sandbox.client("sqs").create_queue(QueueName=wired.names.queue)
    assert [step.resource.kind for step in wired.plan().foreign] == [Kind.TOPIC, Kind.QUEUE]
    adopting = wired.plan(adopt=True)
    assert adopting.foreign == ()
    apply(adopting, wired.applier.carry_out, lambda _step: None)
    assert wired.plan().changes == ()
    assert wired.reader.topic(wired.names.topic).tags == {TAG: wired.options.scope}


def test_destroying_leaves_nothing_of_ours(wiring, sandbox):
    wired = wiring()
    make(wired)
    goodbye = remove(wired)
    assert goodbye.kept == ()
    assert wired.reader.topic(wired.names.topic) is None
    assert wired.reader.queue(wired.names.queue) is None
    assert wired.reader.queue(wired.names.dead_queue) is None
    assert wired.reader.configuration_set(wired.names.configuration_set) is None
    assert remove(wired).removals == ()


def test_destroying_leaves_everything_of_others(wiring, sandbox):
    wired = wiring()
    make(wired)
    sns, ses = sandbox.client("sns"), sandbox.client("sesv2")
    topic = SIMULATED.arn("sns", wired.names.topic)
    other = sandbox.client("sqs").create_queue(QueueName=f"crm-{wired.options.environment}")["QueueUrl"]
    attributes = sandbox.client("sqs").get_queue_attributes(QueueUrl=other, AttributeNames=["QueueArn"])
    theirs = attributes["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=theirs)
    ses.create_configuration_set_event_destination(
        ConfigurationSetName=wired.names.configuration_set,
        EventDestinationName="crm",
        EventDestination={"Enabled": True, "MatchingEventTypes": ["SEND"], "SnsDestination": {"TopicArn": topic}},
    )
    goodbye = remove(wired)
    assert len(goodbye.kept) == 3
    assert [one.attributes["Endpoint"] for one in wired.reader.subscriptions(topic) if one.arn] == [theirs]
    assert [one.name for one in wired.reader.event_destinations(wired.names.configuration_set)] == ["crm"]
    assert wired.reader.queue(wired.names.queue) is None


def test_destroying_twice_at_once_is_no_failure(wiring):
    wired = wiring()
    make(wired)
    goodbye = farewell(take_inventory(wired.reader, wired.names), wired.names)
    for _ in range(2):
        remover = Remover(wired.aws, goodbye.topics)
        for removal in goodbye.removals:
            remover.remove(removal)


@pytest.fixture
def classic(wiring, sandbox):
    ses = sandbox.client("sesv2")
    present = {one["IdentityName"] for one in ses.list_email_identities()["EmailIdentities"]}
    for name in {"example.com", "shop@example.net"} - present:
        ses.create_email_identity(EmailIdentity=name)
    wired = wiring(webhook_url=None, classic=True, identities=("example.com", "shop@example.net"))
    yield wired
    remove(wired)


def shown(wired, name="example.com"):
    (found,) = wired.reader.notifications([name])
    return found.attributes


def test_the_classic_wiring_sets_topics_and_headers_and_then_ends_forwarding(classic):
    make(classic)
    attributes = shown(classic)
    for kind, topic in (("Bounce", "bounces"), ("Complaint", "complaints"), ("Delivery", "deliveries")):
        assert attributes[f"{kind}Topic"].endswith(f":ses-{topic}-topic-{classic.options.environment}")
        assert attributes[f"HeadersIn{kind}NotificationsEnabled"] is True
    assert attributes["ForwardingEnabled"] is False
    assert classic.plan().changes == ()
    assert classic.warnings == []


def test_an_identity_goes_back_to_mail_when_the_classic_wiring_is_destroyed(classic):
    make(classic)
    remove(classic)
    attributes = shown(classic)
    assert attributes["ForwardingEnabled"] is True
    assert not any(attributes.get(f"{kind}Topic") for kind in ("Bounce", "Complaint", "Delivery"))
    assert classic.reader.topic(classic.names.classic_topic("Bounce")) is None


def test_an_identity_that_reports_elsewhere_is_left_alone(classic, sandbox, aws):
    place = SIMULATED.arn("ses", "identity/example.com")
    policy = {
        "Effect": "Allow",
        "Principal": {"Service": "ses.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": "*",
        "Condition": {"StringEquals": {"AWS:SourceAccount": SIMULATED.account, "AWS:SourceArn": place}},
    }
    attributes = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [policy]})}
    crm = sandbox.client("sns").create_topic(Name="crm-bounces", Attributes=attributes)["TopicArn"]
    ses = sandbox.client("ses")
    ses.set_identity_notification_topic(Identity="example.com", NotificationType="Bounce", SnsTopic=crm)
    (step,) = classic.plan().foreign
    assert step.resource.name == "example.com"
    ses.set_identity_notification_topic(Identity="example.com", NotificationType="Bounce")


def test_what_cannot_be_read_is_an_error_and_not_taken_for_missing(aws, sandbox):
    sandbox.set_faults(
        error_rate=1.0,
        error_code="AuthorizationError",
        error_status=403,
        error_operations=["GetTopicAttributes"],
    )
    with pytest.raises(AwsCallError, match="sns:GetTopicAttributes"):
        Reader(aws, SIMULATED).topic("any")
    sandbox.set_faults()
