"""What neither the simulated AWS nor moto does: answers of AWS, played by botocore's Stubber."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from botocore.stub import ANY, Stubber

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.apply import Applier, Awaited
from gateway.aws.provisioning.confirmation import is_confirmed, wait_for
from gateway.aws.provisioning.destroy import Removal, Remover
from gateway.aws.provisioning.found import Reader
from gateway.aws.provisioning.names import TAG, Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.plan import Action, Difference, Found, Step
from gateway.aws.provisioning.wanted import Kind, wanted
from gateway.aws.session import Aws

PLACE = Place("123456789012", "eu-west-1")
TOPIC = PLACE.arn("sns", "sesgate-production-feedback")


@pytest.fixture
def aws(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return Aws("eu-west-1", sleep=lambda _seconds: None)


@pytest.fixture
def stub(aws):
    """Stubs of services, each of which must have been asked all it has answers for."""
    stubs = {}
    with ExitStack() as stack:

        def of(service):
            if service not in stubs:
                stubs[service] = stack.enter_context(Stubber(aws.client(service)))
            return stubs[service]

        yield of
        for each in stubs.values():
            each.assert_no_pending_responses()


def first(kind, **options):
    given = {"webhook_url": "https://u:s3cret@mail.example.com/sns"} | options
    return next(each for each in wanted(Options(**given), PLACE) if each.kind is kind)


def applier(aws, warnings=None):
    noted = [] if warnings is None else warnings
    return Applier(
        aws, (TAG, "sesgate-production"), trust=lambda _arns: None, warn=noted.append, sleep=lambda _seconds: None
    )


def test_an_event_destination_is_tried_again_until_ses_may_publish(aws, stub):
    destination = first(Kind.EVENT_DESTINATION)
    refusal = f"Could not publish to SNS topic <{TOPIC}>"
    for _ in range(2):
        stub("sesv2").add_client_error("create_configuration_set_event_destination", "BadRequestException", refusal)
    stub("sesv2").add_response(
        "create_configuration_set_event_destination",
        {},
        {
            "ConfigurationSetName": "sesgate-production",
            "EventDestinationName": "sesgate",
            "EventDestination": {
                "Enabled": True,
                "MatchingEventTypes": destination.attributes["MatchingEventTypes"],
                "SnsDestination": {"TopicArn": TOPIC},
            },
        },
    )
    applier(aws).carry_out(Step(Action.CREATE, destination))


def test_another_refusal_of_an_event_destination_is_told_at_once(aws, stub):
    stub("sesv2").add_client_error("create_configuration_set_event_destination", "LimitExceededException", "10 already")
    with pytest.raises(AwsCallError, match="10 already"):
        applier(aws).carry_out(Step(Action.CREATE, first(Kind.EVENT_DESTINATION)))


def test_a_subscription_that_aws_knows_with_other_attributes_is_asked_for_without_and_changed(aws, stub):
    subscription = first(Kind.SUBSCRIPTION)
    arn = f"{TOPIC}:1f3a"
    different = "Invalid parameter: Attributes Reason: Subscription already exists with different attributes"
    request = {
        "TopicArn": TOPIC,
        "Protocol": "https",
        "Endpoint": "https://u:s3cret@mail.example.com/sns",
        "ReturnSubscriptionArn": True,
    }
    stub("sns").add_client_error("subscribe", "InvalidParameter", different)
    stub("sns").add_response("subscribe", {"SubscriptionArn": arn}, request)
    for name in ("RawMessageDelivery", "DeliveryPolicy", "RedrivePolicy"):
        stub("sns").add_response(
            "set_subscription_attributes", {}, {"SubscriptionArn": arn, "AttributeName": name, "AttributeValue": ANY}
        )
    made = applier(aws)
    made.carry_out(Step(Action.CREATE, subscription))
    assert made.awaited == [Awaited(arn, subscription)]


def test_subscriptions_are_read_page_by_page_with_their_masked_passwords(aws, stub):
    pages = [
        ([{"SubscriptionArn": "Deleted", "Endpoint": "https://old.example.com/sns"}], "more"),
        ([{"SubscriptionArn": "PendingConfirmation", "Endpoint": "https://u:****@mail.example.com/sns"}], None),
    ]
    token = {}
    for listed, following in pages:
        given = [{"TopicArn": TOPIC, "Protocol": "https", "Owner": PLACE.account, **one} for one in listed]
        answer = {"Subscriptions": given} | ({"NextToken": following} if following else {})
        stub("sns").add_response("list_subscriptions_by_topic", answer, {"TopicArn": TOPIC, **token})
        token = {"NextToken": following}
    (found,) = Reader(aws, PLACE).subscriptions(TOPIC)
    assert found.name == first(Kind.SUBSCRIPTION).name
    assert found.attributes["Confirmed"] is False


def test_a_subscription_without_an_arn_is_seen_confirmed_although_its_password_is_masked(aws, stub):
    listed = {"TopicArn": TOPIC, "Protocol": "https", "Owner": PLACE.account, "SubscriptionArn": f"{TOPIC}:1"}
    for endpoint in ("https://other.example.com/sns", "https://u:****@mail.example.com/sns"):
        answer = {"Subscriptions": [{**listed, "Endpoint": endpoint}]}
        stub("sns").add_response("list_subscriptions_by_topic", answer, {"TopicArn": TOPIC})
    awaited = Awaited("pending confirmation", first(Kind.SUBSCRIPTION))
    assert not is_confirmed(aws, awaited)
    assert is_confirmed(aws, awaited)


def identity_step():
    identity = first(Kind.IDENTITY, classic=True, identities=("example.com",))
    return Step(Action.CHANGE, identity, (Difference("ForwardingEnabled", old=True, new=False),))


def notifications(**attributes):
    whole = {"ForwardingEnabled": True, "BounceTopic": "", "ComplaintTopic": "", "DeliveryTopic": ""} | attributes
    return {"NotificationAttributes": {"example.com": whole}}


def test_forwarding_ends_only_when_ses_itself_shows_both_topics(aws, stub):
    step = identity_step()
    topics = {name: step.resource.attributes[name] for name in ("BounceTopic", "ComplaintTopic")}
    stub("ses").add_response("get_identity_notification_attributes", notifications(**topics))
    stub("ses").add_response(
        "set_identity_feedback_forwarding_enabled", {}, {"Identity": "example.com", "ForwardingEnabled": False}
    )
    applier(aws).carry_out(step)


def test_forwarding_goes_on_while_ses_shows_one_topic_only(aws, stub):
    step, warnings = identity_step(), []
    one = {"BounceTopic": step.resource.attributes["BounceTopic"]}
    stub("ses").add_response("get_identity_notification_attributes", notifications(**one))
    applier(aws, warnings).carry_out(step)
    assert "ComplaintTopic of example.com" in warnings[0]


def test_tags_that_nothing_here_keeps_are_a_warning(aws, stub):
    warnings = []
    queue = first(Kind.QUEUE)
    found = Found(Kind.QUEUE, queue.name, {}, url="https://queue")
    stub("sqs").add_client_error("tag_queue", "UnsupportedOperation", "not here", http_status_code=501)
    tagging = Difference("tag", None, f"{TAG}=sesgate-production")
    applier(aws, warnings).carry_out(Step(Action.CHANGE, queue, (tagging,), found, adopts=True))
    assert "sqs:TagQueue" in warnings[0]


def test_where_tags_cannot_be_read_because_of_a_permission_it_is_said(aws, stub):
    stub("sns").add_response("get_topic_attributes", {"Attributes": {"Owner": PLACE.account}})
    stub("sns").add_client_error("list_tags_for_resource", "AuthorizationError", "no")
    with pytest.raises(AwsCallError, match="sns:ListTagsForResource"):
        Reader(aws, PLACE).topic("sesgate-production-feedback")


def test_where_nothing_keeps_tags_they_are_unknown(aws, stub):
    stub("sns").add_response("get_topic_attributes", {"Attributes": {"Policy": "no json"}})
    stub("sns").add_client_error("list_tags_for_resource", "InvalidAction", "no")
    found = Reader(aws, PLACE).topic("sesgate-production-feedback")
    assert found is not None
    assert found.tags is None
    assert found.attributes["Policy"] == "no json"


def test_many_identities_are_asked_about_a_hundred_at_a_time(aws, stub):
    names = [f"a{number}.example" for number in range(150)]
    for part in (names[:100], names[100:]):
        stub("ses").add_response(
            "get_identity_notification_attributes", {"NotificationAttributes": {}}, {"Identities": part}
        )
    assert list(Reader(aws, PLACE).notifications(names)) == []


def test_what_is_gone_already_need_not_be_removed(aws, stub):
    stub("sqs").add_client_error("delete_queue", "AWS.SimpleQueueService.NonExistentQueue", "gone")
    Remover(aws, []).remove(Removal(Found(Kind.QUEUE, "q", {}, url="https://queue")))


def pending(text):
    return {"Attributes": {"PendingConfirmation": text}}


def test_waiting_ends_with_the_confirmation_and_tells_what_is_pending_meanwhile(aws, stub):
    now = [0.0]
    for answer in ("true", "true", "true", "true", "true", "false"):
        stub("sns").add_response("get_subscription_attributes", pending(answer))
    awaited = [Awaited(f"{TOPIC}:1f3a", first(Kind.SUBSCRIPTION))]
    told = []

    def sleep(seconds):
        now[0] += seconds

    left = wait_for(aws, awaited, seconds=60, say=told.append, clock=lambda: now[0], sleep=sleep)
    assert left == ()
    assert told == [tuple(awaited)]


def test_waiting_ends_with_the_time_and_what_is_still_pending(aws, stub):
    now = [0.0]
    for _ in range(3):
        stub("sns").add_response("get_subscription_attributes", pending("true"))
    awaited = [Awaited(f"{TOPIC}:1f3a", first(Kind.SUBSCRIPTION))]

    def sleep(seconds):
        now[0] += seconds

    assert wait_for(aws, awaited, seconds=3, say=print, clock=lambda: now[0], sleep=sleep) == tuple(awaited)


def test_a_subscription_without_an_arn_is_looked_for_in_the_topics_list(aws, stub):
    one = Awaited("pending confirmation", first(Kind.SUBSCRIPTION, webhook_url="https://mail.example.com/sns"))
    for arn in ("PendingConfirmation", f"{TOPIC}:1f3a"):
        given = {"SubscriptionArn": arn, "Endpoint": "https://mail.example.com/sns", "TopicArn": TOPIC}
        stub("sns").add_response("list_subscriptions_by_topic", {"Subscriptions": [given]})
    assert not is_confirmed(aws, one)
    assert is_confirmed(aws, one)


def queue_steps():
    dead, queue = (each for each in wanted(Options(queue=True), PLACE) if each.kind is Kind.QUEUE)
    return Step(Action.CREATE, dead), Step(Action.CREATE, queue)


_NO_TARGET = "Value for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist."


def test_a_dead_letter_queue_that_sqs_has_just_made_may_take_a_moment(aws, stub):
    dead, queue = queue_steps()
    stub("sqs").add_response("create_queue", {"QueueUrl": "https://dead"})
    stub("sqs").add_client_error("create_queue", "InvalidParameterValue", _NO_TARGET)
    stub("sqs").add_response("create_queue", {"QueueUrl": "https://queue"})
    made = applier(aws)
    made.carry_out(dead)
    made.carry_out(queue)


def test_a_topic_that_sns_has_just_made_may_take_a_moment(aws, stub):
    topic, subscription = first(Kind.TOPIC), first(Kind.SUBSCRIPTION)
    stub("sns").add_response("create_topic", {"TopicArn": TOPIC})
    stub("sns").add_client_error("subscribe", "NotFound", "Topic does not exist")
    stub("sns").add_response("subscribe", {"SubscriptionArn": f"{TOPIC}:1f3a"})
    made = applier(aws)
    made.carry_out(Step(Action.CREATE, topic))
    made.carry_out(Step(Action.CREATE, subscription))


def test_what_was_not_just_made_is_not_waited_for(aws, stub):
    _, queue = queue_steps()
    stub("sqs").add_client_error("create_queue", "InvalidParameterValue", _NO_TARGET)
    with pytest.raises(AwsCallError, match="does not exist"):
        applier(aws).carry_out(queue)


def test_a_queue_that_goes_while_it_is_read_is_not_there(aws, stub):
    stub("sqs").add_response("get_queue_url", {"QueueUrl": "https://queue"})
    stub("sqs").add_client_error("get_queue_attributes", "AWS.SimpleQueueService.NonExistentQueue", "gone")
    assert Reader(aws, PLACE).queue("sesgate-production-feedback") is None


def test_waiting_for_a_confirmation_outlasts_a_server_in_trouble(aws, stub):
    now = [0.0]
    stub("sns").add_client_error("get_subscription_attributes", "InternalError", "", http_status_code=500)
    stub("sns").add_response("get_subscription_attributes", pending("false"))

    def sleep(seconds):
        now[0] += seconds

    awaited = [Awaited(f"{TOPIC}:1f3a", first(Kind.SUBSCRIPTION))]
    assert wait_for(aws, awaited, seconds=60, say=print, clock=lambda: now[0], sleep=sleep) == ()
