from __future__ import annotations

from gateway.aws.provisioning.destroy import Inventory, farewell
from gateway.aws.provisioning.names import TAG, Names
from gateway.aws.provisioning.plan import Found
from gateway.aws.provisioning.wanted import Kind

NAMES = Names("sesgate-production", "production")
OURS = {TAG: NAMES.scope}
QUEUE_ARN, DEAD_ARN = (f"arn:aws:sqs:eu-west-1:123456789012:{name}" for name in (NAMES.queue, NAMES.dead_queue))
TOPIC = Found(Kind.TOPIC, NAMES.topic, {}, OURS, arn="arn:topic")
QUEUE = Found(Kind.QUEUE, NAMES.queue, {}, OURS, arn=QUEUE_ARN, url="http://queue")
DEAD = Found(Kind.QUEUE, NAMES.dead_queue, {}, OURS, arn=DEAD_ARN, url="http://dead")
SET = Found(Kind.CONFIGURATION_SET, NAMES.configuration_set, {}, OURS)


def destination(name="sesgate"):
    return Found(Kind.EVENT_DESTINATION, name, {}, parent=SET.name)


def subscription(endpoint, *, redrive=None, confirmed=True):
    attributes = {"Endpoint": endpoint, "Confirmed": confirmed, "RedrivePolicy": redrive}
    return Found(Kind.SUBSCRIPTION, f"of {endpoint}", attributes, arn=f"arn:{endpoint}", parent=TOPIC.arn)


def titles(removals):
    return [removal.title for removal in removals]


WEBHOOK = subscription("https://mail.example.com/sns", redrive={"deadLetterTargetArn": DEAD_ARN})
WHOLE = Inventory((TOPIC,), (QUEUE, DEAD), SET, (destination(),), (WEBHOOK, subscription(QUEUE_ARN)))


def test_everything_of_ours_goes_and_in_the_order_in_which_nothing_hangs_in_the_air():
    goodbye = farewell(WHOLE, NAMES)
    assert titles(goodbye.removals) == [
        "subscription of https://mail.example.com/sns",
        f"subscription of {QUEUE_ARN}",
        "event destination sesgate",
        "configuration set sesgate-production",
        "topic sesgate-production-feedback",
        "queue sesgate-production-feedback",
        "queue sesgate-production-feedback-dead",
    ]
    assert goodbye.kept == ()
    assert goodbye.topics == ("arn:topic",)


def test_without_our_tag_nothing_goes():
    bare = Inventory(
        (Found(Kind.TOPIC, TOPIC.name, {}, {}, arn=TOPIC.arn),),
        (Found(Kind.QUEUE, QUEUE.name, {}, {TAG: "other"}, arn=QUEUE.arn),),
        Found(Kind.CONFIGURATION_SET, SET.name, {}, None),
        (destination(),),
        (),
    )
    goodbye = farewell(bare, NAMES)
    assert goodbye.removals == ()
    assert [line.partition(": ")[2] for line in goodbye.kept] == [
        f"it does not carry our tag ({TAG})",
        "it belongs to other",
        "nothing here keeps tags, so it cannot be told whose it is",
    ]
    assert goodbye.strange_topics == ("arn:topic",)


def test_a_set_with_destinations_of_others_stays():
    inventory = Inventory((), (), SET, (destination(), destination("crm")), ())
    goodbye = farewell(inventory, NAMES)
    assert titles(goodbye.removals) == ["event destination sesgate"]
    assert goodbye.kept == ("configuration set sesgate-production: others have event destinations in it (crm)",)


def test_a_topic_that_others_subscribed_to_stays():
    other = subscription("https://crm.example.com/sns")
    goodbye = farewell(Inventory((TOPIC,), (DEAD,), None, (), (WEBHOOK, other)), NAMES)
    assert titles(goodbye.removals) == [f"subscription {WEBHOOK.name}", f"queue {DEAD.name}"]
    assert goodbye.kept == (
        "subscription of https://crm.example.com/sns: it is not known to be ours",
        "topic sesgate-production-feedback: others have subscribed to it",
    )


def test_a_subscription_is_ours_when_its_url_is_named():
    bare = subscription("https://u:****@mail.example.com/sns")
    inventory = Inventory((TOPIC,), (), None, (), (bare,))
    assert titles(farewell(inventory, NAMES).removals) == []
    goodbye = farewell(inventory, NAMES, webhook_url="https://u:s3cret@mail.example.com/sns")
    assert titles(goodbye.removals) == [f"subscription {bare.name}", f"topic {TOPIC.name}"]


def test_subscriptions_are_known_as_ours_when_their_queues_are_gone():
    inventory = Inventory((TOPIC,), (), None, (), (WEBHOOK, subscription(QUEUE_ARN)))
    assert len(farewell(inventory, NAMES).removals) == 3


def test_a_pending_subscription_keeps_no_topic():
    pending = subscription("https://crm.example.com/sns", confirmed=False)
    goodbye = farewell(Inventory((TOPIC,), (), None, (), (pending,)), NAMES)
    assert titles(goodbye.removals) == [f"topic {TOPIC.name}"]


def test_what_is_lost_with_a_queue_is_said():
    full = Found(Kind.QUEUE, DEAD.name, {"ApproximateNumberOfMessages": "3"}, OURS, arn=DEAD.arn)
    (removal,) = farewell(Inventory((), (full,), None, (), ()), NAMES).removals
    assert removal.note == "3 messages are lost with it"


def test_identities_report_by_mail_again():
    identity = Found(Kind.IDENTITY, "example.com", {"BounceTopic": TOPIC.arn})
    removals = farewell(Inventory((TOPIC,), (), None, (), (), (identity,)), NAMES).removals
    assert titles(removals) == ["notifications of identity example.com", f"topic {TOPIC.name}"]
