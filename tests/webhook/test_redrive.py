from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from gateway.store.errors import StoreError, StoreUnavailableError
from tests.support.payloads import ses
from tests.support.sns import sns_time
from tests.webhook.queues import SIMULATED_SIGNER, make_inbox, message_id, start, stored_in
from tests.webhook.support import SIGNER, Store
from webhook.inbox import Verdict
from webhook.redrive import Redrive

EVENT = ses.event("Bounce", bounce=ses.bounce())
OLD = sns_time(datetime.now(UTC) - timedelta(hours=23))
FORGED = json.dumps({**json.loads(SIGNER.notification(EVENT)), "Message": "{}"})

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


_MODULE = ("-m", "webhook.redrive")
_COMMAND = ("-m", "gateway.cli", "feedback-queue", "redrive")


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
