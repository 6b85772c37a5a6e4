from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.store.errors import StoreError, StoreUnavailableError
from tests.support.payloads import ses
from tests.support.sns import sns_time
from tests.support.waiting import until
from tests.webhook.queues import SIMULATED_SIGNER, make_inbox, message_id, prepare, start, stored_in
from tests.webhook.support import SIGNER, Store
from webhook.inbox import Verdict
from webhook.redrive import Redrive

EVENT = ses.event("Bounce", bounce=ses.bounce())
OLD = sns_time(datetime.now(UTC) - timedelta(hours=23))
FORGED = json.dumps({**json.loads(SIGNER.notification(EVENT)), "Message": "{}"})

_MODULE = ("-m", "webhook.redrive")
_COMMAND = ("-m", "gateway.cli", "feedback-queue", "redrive")

pytestmark = pytest.mark.usefixtures("aws_environment")


def walk(pair, store, ending=lambda: False):
    """The walk at its end, and what it said of each message that it left."""
    said, steps = [], []
    redrive = Redrive(pair.dead, make_inbox(store), said.append, wait=1)
    redrive.run(steps.append, ending)
    assert sum(steps) == sum(redrive.verdicts.values())
    return redrive, said


def test_everything_is_taken_in_whatever_its_age_and_deleted(pair):
    store = Store()
    bodies = [SIGNER.notification(EVENT, Timestamp=OLD) for _ in range(23)]
    pair.send(*bodies, dead=True)
    redrive, said = walk(pair, store)
    assert {stored.sns_message_id for stored in store.stored} == set(map(message_id, bodies))
    assert (redrive.is_complete, redrive.left, said, pair.held(dead=True)) == (True, 0, [], 0)


def test_what_was_known_already_is_deleted_too(pair):
    store, body = Store(), SIGNER.notification(EVENT)
    pair.send(body, body, dead=True)
    redrive, _ = walk(pair, store)
    assert redrive.verdicts == {Verdict.STORED: 1, Verdict.KNOWN: 1}
    assert pair.held(dead=True) == 0


def test_what_is_refused_is_left_told_once_and_can_be_received_again(pair):
    store = Store()
    pair.send(FORGED, SIGNER.notification(EVENT), "hello", dead=True)
    redrive, said = walk(pair, store)
    assert (redrive.left, len(store.stored)) == (2, 1)
    assert all(line.startswith("left: ") for line in said)
    assert "The Signature does not fit the message." in "".join(said)
    assert sorted(pair.visible(dead=True)) == sorted([FORGED, "hello"])


def test_while_the_database_is_away_nothing_is_deleted(pair):
    store = Store(error=StoreUnavailableError("away"))
    pair.send(*(SIGNER.notification(EVENT) for _ in range(3)), dead=True)
    with pytest.raises(StoreError, match="start this again"):
        walk(pair, store)
    assert len(pair.visible(dead=True)) == 3


def test_it_ends_between_two_batches_when_it_is_asked_to(pair):
    store = Store()
    pair.send(*(SIGNER.notification(EVENT) for _ in range(25)), dead=True)
    redrive, _ = walk(pair, store, ending=lambda: bool(store.stored))
    assert not redrive.is_complete
    assert 0 < len(store.stored) < 25
    assert pair.held(dead=True) == 25 - len(store.stored)


def test_the_command_says_what_became_of_them_and_fails_when_something_was_left(sandbox, pair, installation):
    body = SIMULATED_SIGNER.notification(EVENT, Timestamp=OLD)
    pair.send(body, body, FORGED, dead=True)
    command = ("-m", "gateway.cli", "feedback-queue", "redrive", pair.dead_url)
    with start(sandbox, installation, "", *command) as process:
        output, _ = process.communicate(timeout=60)
    words = output.decode()
    assert process.returncode == 1, words
    assert "1 stored, 1 known already, 1 left." in words
    assert "is not one of the topics" in words
    assert stored_in(installation) == {message_id(body)}
    pair.client.purge_queue(QueueUrl=pair.dead_url)
    with start(sandbox, installation, "", *command) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.decode()) == (0, "0 stored, 0 known already, 0 left.\n")


class Refusing(BaseHTTPRequestHandler):
    """A webhook that confirms its subscription and refuses everything else, as one with a wrong setting does."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["Type"] == "SubscriptionConfirmation":
            self.server.sns.confirm_subscription(TopicArn=body["TopicArn"], Token=body["Token"])
        self.send_response(200 if body["Type"] == "SubscriptionConfirmation" else 403)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def refusing(sandbox) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.sns = sandbox.client("sns")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/sns"
        server.shutdown()
        thread.join()


def test_what_a_webhook_refused_is_taken_in_from_behind_its_subscription(sandbox, pair, tmp_path, refusing):
    prepare(tmp_path, sandbox.certificate_file.read_bytes())
    sns = sandbox.client("sns")
    topic = sns.create_topic(Name=pair.name)["TopicArn"]
    pair.let_in(topic, dead=True)
    redrive = json.dumps({"deadLetterTargetArn": pair.arn(dead=True)})
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=refusing, Attributes={"RedrivePolicy": redrive})
    until(
        lambda: sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"][0]["SubscriptionArn"].startswith(
            "arn:"
        ),
        what="a confirmed subscription",
    )
    published = {sns.publish(TopicArn=topic, Message=json.dumps(EVENT))["MessageId"] for _ in range(2)}
    until(lambda: pair.held(dead=True) == len(published), what="dead letters")
    with start(sandbox, tmp_path, "", *_COMMAND, pair.dead_url, topics=topic) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.decode().splitlines()[-1]) == (0, "2 stored, 0 known already, 0 left.")
    assert stored_in(tmp_path) == published


@pytest.mark.parametrize(
    ("program", "url", "code", "words"),
    [
        (_COMMAND, "https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo", 2, "FIFO"),
        (_MODULE, "dead", 2, "is no URL of an SQS queue"),
        (_MODULE, "https://sqs.eu-west-1.amazonaws.com/123456789012/dead", 2, "real AWS account"),
        (_COMMAND, "http://127.0.0.1:1/000000000000/dead", 1, "There is no queue"),
    ],
)
def test_a_queue_that_cannot_be_meant_is_one_sentence(sandbox, installation, program, url, code, words):
    with start(sandbox, installation, "", *program, url) as process:
        output, _ = process.communicate(timeout=60)
    assert words in output.decode()
    assert "Traceback" not in output.decode()
    assert process.returncode == code
