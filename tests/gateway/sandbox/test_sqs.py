"""Queues through boto3: messages, visibility, dead letters, refusals, and what outlives a kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from gateway.sandbox import names, sqs_digests
from gateway.sandbox.database import Database
from gateway.sandbox.sqs_messages import Draft, QueueMessages
from gateway.sandbox.sqs_queues import Queues
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

DEAD = "arn:aws:sqs:us-east-1:000000000000:dead"
Make = Callable[..., str]


@pytest.fixture
def sqs(sandbox: Sandbox) -> Any:
    return sandbox.client("sqs")


@pytest.fixture
def make(sqs: Any) -> Iterator[Make]:
    """Queues that are gone afterwards."""
    made: dict[str, None] = {}

    def create(name: str, **attributes: str) -> str:
        url = str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])
        made[url] = None
        return url

    yield create
    for url in made:
        sqs.delete_queue(QueueUrl=url)


def received(sqs: Any, url: str, **call: Any) -> list[dict[str, Any]]:
    given = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    return list(sqs.receive_message(**given | {"QueueUrl": url} | call).get("Messages", []))


def attributes(sqs: Any, url: str, *wanted: str) -> dict[str, str]:
    return dict(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(wanted or ("All",)))["Attributes"])


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """The code as boto3 shows it, and the name of the error's shape."""
    with pytest.raises(ClientError) as caught:
        call()
    error: dict[str, Any] = dict(caught.value.response["Error"])
    return error["Code"], error["QueryErrorCode"]


def test_a_message_is_received_once_until_it_is_deleted(sqs: Any, make: Make):
    url = make("plain")
    sent = sqs.send_message(QueueUrl=url, MessageBody="Grüße")
    assert sent["MD5OfMessageBody"] == hashlib.md5("Grüße".encode(), usedforsecurity=False).hexdigest()

    (message,) = received(sqs, url)
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "Grüße")
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert received(sqs, url) == []
    assert attributes(sqs, url)["ApproximateNumberOfMessagesNotVisible"] == "1"

    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert attributes(sqs, url)["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_an_invisible_message_comes_back_and_is_counted(sqs: Any, make: Make):
    url = make("visible", VisibilityTimeout="0")
    sqs.send_message(QueueUrl=url, MessageBody="a")
    (first,) = received(sqs, url)
    (second,) = received(sqs, url, VisibilityTimeout=30)

    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert received(sqs, url) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])  # Too late: another has it in hand.
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=0)
    (third,) = received(sqs, url)
    assert third["MessageId"] == second["MessageId"]


def test_a_waiting_receiver_gets_a_message_of_another_thread_at_once(sandbox: Sandbox, sqs: Any, make: Make):
    url, other = make("waited-for"), make("other")
    answers: list[list[dict[str, Any]]] = []
    waiter = threading.Thread(target=lambda: answers.append(received(sqs, url, WaitTimeSeconds=20)))
    started = time.monotonic()
    waiter.start()
    sender = sandbox.client("sqs")
    sender.send_message(QueueUrl=other, MessageBody="for somebody else")
    sender.send_message(QueueUrl=url, MessageBody="here")
    waiter.join()

    assert [message["Body"] for message in answers[0]] == ["here"]
    assert time.monotonic() - started < 15, "it waited to the end"


def test_a_waiting_receiver_gets_what_becomes_visible(sqs: Any, make: Make):
    url = make("delayed", ReceiveMessageWaitTimeSeconds="20")
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=1)
    assert attributes(sqs, url)["ApproximateNumberOfMessagesDelayed"] == "1"

    assert [message["Body"] for message in received(sqs, url)] == ["later"]


def test_a_receiver_that_hung_up_takes_nothing_with_it(tmp_path: Path):
    database = Database(tmp_path / "db")
    queues = Queues(database)
    queues.create("q", {})
    messages = QueueMessages(database, queues)
    messages.send(queues.get("q"), Draft("a"))

    assert messages.poll("q", limit=1, visibility=None, wait=0.0, abandoned=lambda: True) == []
    assert messages.counts(queues.get("q")).visible == 1
    database.close()


def test_old_messages_are_forgotten(tmp_path: Path):
    now = 1_000_000.0
    database = Database(tmp_path / "db")
    queues = Queues(database)
    queues.create("q", {"MessageRetentionPeriod": "60"})
    messages = QueueMessages(database, queues, clock=lambda: now)
    messages.send(queues.get("q"), Draft("a"))

    now += 61.0
    assert messages.poll("q", limit=1, visibility=None, wait=0.0, abandoned=lambda: False) == []
    assert messages.counts(queues.get("q")).visible == 0
    database.close()


def test_message_attributes_come_back_with_their_digest(sqs: Any, make: Make):
    url = make("attributes")
    given = {
        "a.one": {"DataType": "String", "StringValue": "v"},
        "a.two": {"DataType": "Number", "StringValue": "2"},
        "b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=given)
    # One String attribute `n` = `v`, computed by hand from AWS's description.
    by_hand = b"\0\0\0\x01n\0\0\0\x06String\x01\0\0\0\x01v"
    assert (
        sqs_digests.of_attributes({"n": {"DataType": "String", "StringValue": "v"}})
        == hashlib.md5(by_hand, usedforsecurity=False).hexdigest()
    )

    (message,) = received(sqs, url, VisibilityTimeout=0)
    assert message["MessageAttributes"] == given
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    (message,) = received(sqs, url, VisibilityTimeout=0, MessageAttributeNames=["a.*"])
    assert set(message["MessageAttributes"]) == {"a.one", "a.two"}
    (message,) = received(sqs, url, MessageAttributeNames=[])
    assert "MessageAttributes" not in message


def test_a_batch_succeeds_and_fails_entry_by_entry(sqs: Any, make: Make):
    url = make("batches")
    entries = [{"Id": "good", "MessageBody": "1"}, {"Id": "bad", "MessageBody": "\x00"}]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [done["Id"] for done in answer["Successful"]] == ["good"]
    assert [(gone["Id"], gone["Code"]) for gone in answer["Failed"]] == [("bad", "InvalidMessageContents")]

    (message,) = received(sqs, url)
    entries = [
        {"Id": "mine", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0},
        {"Id": "odd", "ReceiptHandle": "nonsense", "VisibilityTimeout": 0},
    ]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    assert [gone["Code"] for gone in changed["Failed"]] == ["ReceiptHandleIsInvalid"]
    (again,) = received(sqs, url)
    done = sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": again["ReceiptHandle"]}])
    assert [entry["Id"] for entry in done["Successful"]] == ["a"]
    assert attributes(sqs, url)["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_what_is_received_too_often_goes_to_the_dead_letters_and_back(sqs: Any, make: Make):
    dead = make("dead")
    redrive = json.dumps({"deadLetterTargetArn": DEAD, "maxReceiveCount": 2})
    url = make("source", VisibilityTimeout="0", RedrivePolicy=redrive)
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert len(received(sqs, url)) == 1
    assert len(received(sqs, url)) == 1
    assert received(sqs, url) == []

    (buried,) = received(sqs, dead, VisibilityTimeout=0)
    source_arn = attributes(sqs, url, "QueueArn")["QueueArn"]
    assert buried["Body"] == "poison"
    assert buried["Attributes"]["DeadLetterQueueSourceArn"] == source_arn

    sqs.start_message_move_task(SourceArn=DEAD)
    (task,) = sqs.list_message_move_tasks(SourceArn=DEAD)["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
    (revived,) = received(sqs, url)
    assert revived["Attributes"]["ApproximateReceiveCount"] == "1"
    assert received(sqs, dead) == []


def test_queues_are_found_listed_tagged_purged_and_deleted(sandbox: Sandbox, sqs: Any, make: Make):
    url = make("listed-1", VisibilityTimeout="7")
    make("listed-2")
    assert url == f"{sandbox.endpoint}/000000000000/listed-1"
    assert make("listed-1", VisibilityTimeout="7") == url
    assert sqs.get_queue_url(QueueName="listed-1")["QueueUrl"] == url
    page = sqs.list_queues(QueueNamePrefix="listed-", MaxResults=1)
    rest = sqs.list_queues(QueueNamePrefix="listed-", MaxResults=1, NextToken=page["NextToken"])
    assert [found.rpartition("/")[2] for found in page["QueueUrls"] + rest["QueueUrls"]] == ["listed-1", "listed-2"]

    sqs.tag_queue(QueueUrl=url, Tags={"sesgate": "yes", "more": "1"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["more"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"sesgate": "yes"}

    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "9", "Policy": '{"Statement": []}'})
    assert attributes(sqs, url, "VisibilityTimeout", "Policy") == {
        "VisibilityTimeout": "9",
        "Policy": '{"Statement": []}',
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    assert "Policy" not in attributes(sqs, url)

    sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.purge_queue(QueueUrl=url)
    assert attributes(sqs, url)["ApproximateNumberOfMessages"] == "0"


def test_refusals_have_the_codes_of_aws(sqs: Any, make: Make):
    url = make("refusals", MaximumMessageSize="1024")
    missing = url.replace("refusals", "missing")
    assert refused(lambda: sqs.get_queue_url(QueueName="missing")) == (
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
    )
    for call, code in (
        (lambda: sqs.receive_message(QueueUrl=missing), "AWS.SimpleQueueService.NonExistentQueue"),
        (lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle="x"), "ReceiptHandleIsInvalid"),
        (lambda: make("refusals", VisibilityTimeout="1"), "QueueAlreadyExists"),
        (lambda: make("a.fifo", FifoQueue="true"), "AWS.SimpleQueueService.UnsupportedOperation"),
        (lambda: make("a", FifoQueue="true"), "AWS.SimpleQueueService.UnsupportedOperation"),
        (lambda: make("a b"), "InvalidParameterValue"),
        (lambda: make("a", VisibilityTimeout="43201"), "InvalidAttributeValue"),
        (lambda: make("a", Nonsense="1"), "InvalidAttributeName"),
        (
            lambda: make("a", RedrivePolicy='{"deadLetterTargetArn": "x:none", "maxReceiveCount": 1}'),
            "InvalidParameterValue",
        ),
        (lambda: make("a", RedrivePolicy='{"maxReceiveCount": 0}'), "InvalidParameterValue"),
        (lambda: make("a", Policy="{"), "InvalidAttributeValue"),
        (lambda: attributes(sqs, url, "Nonsense"), "InvalidAttributeName"),
        (lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=21), "InvalidParameterValue"),
        (lambda: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=11), "InvalidParameterValue"),
        (lambda: sqs.send_message(QueueUrl=url, MessageBody=""), "MissingParameter"),
        (lambda: sqs.send_message(QueueUrl=url, MessageBody="x" * 1025), "InvalidParameterValue"),
        (lambda: sqs.send_message(QueueUrl=url, MessageBody="\x0b"), "InvalidMessageContents"),
        (lambda: sqs.delete_message_batch(QueueUrl=url, Entries=[]), "AWS.SimpleQueueService.EmptyBatchRequest"),
        (
            lambda: sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "a", "MessageBody": "x"}] * 2),
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        ),
        (
            lambda: sqs.send_message_batch(
                QueueUrl=url, Entries=[{"Id": str(number), "MessageBody": "x"} for number in range(11)]
            ),
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        ),
        (
            lambda: sqs.start_message_move_task(SourceArn="arn:aws:sqs:us-east-1:000000000000:no"),
            "ResourceNotFoundException",
        ),
        (lambda: sqs.add_permission(QueueUrl=url, Label="a", AWSAccountIds=["1"], Actions=["*"]), "InvalidAction"),
    ):
        assert refused(call)[0] == code


def test_a_handle_that_no_longer_holds_a_message_changes_nothing(sqs: Any, make: Make):
    url = make("handles")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    (message,) = received(sqs, url)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
    sqs.change_message_visibility(**change)
    assert refused(lambda: sqs.change_message_visibility(**change))[0] == "AWS.SimpleQueueService.MessageNotInflight"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert refused(lambda: sqs.change_message_visibility(**change))[0] == "InvalidParameterValue"


def test_a_fault_can_strike_a_receive(sandbox: Sandbox, sqs: Any, make: Make):
    url = make("faulty")
    sandbox.set_faults(error_code="OverLimit", error_operations=["ReceiveMessage"])
    assert refused(lambda: received(sqs, url))[0] == "OverLimit"
    assert received(sqs, url) == []


def test_the_sandbox_starts_with_the_feedback_queue_and_its_dead_letters(sqs: Any):
    url = sqs.get_queue_url(QueueName=names.FEEDBACK_QUEUE)["QueueUrl"]
    shown = attributes(sqs, url)
    assert json.loads(shown["RedrivePolicy"]) == {
        "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:000000000000:{names.FEEDBACK_DEAD_LETTERS}",
        "maxReceiveCount": 5,
    }
    assert names.TOPIC_ARN in shown["Policy"]


def test_queues_and_messages_in_flight_outlive_a_kill():
    with Sandbox() as sandbox:
        sqs = sandbox.client("sqs")
        url = sqs.create_queue(QueueName="kept", Attributes={"VisibilityTimeout": "40"})["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="held")
        (held,) = received(sqs, url)
        sqs.send_message(QueueUrl=url, MessageBody="waiting")

        sandbox.restart()

        assert [message["Body"] for message in received(sqs, url)] == ["waiting"]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=0)
        (again,) = received(sqs, url)
        assert (again["Body"], again["Attributes"]["ApproximateReceiveCount"]) == ("held", "2")


def test_a_receiver_that_was_killed_while_waiting_takes_no_message_with_it():
    with Sandbox() as sandbox:
        sqs = sandbox.client("sqs")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        impatient = sandbox.client("sqs", read_timeout=1)
        with pytest.raises(Exception, match=r"timed out|timeout"):
            received(impatient, url, WaitTimeSeconds=20)
        sqs.send_message(QueueUrl=url, MessageBody="x")

        (message,) = until(lambda: received(sqs, url), what="the message is there for the next one") or []
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_a_waiting_receiver_does_not_keep_the_sandbox_from_ending():
    with Sandbox() as sandbox:
        sqs = sandbox.client("sqs")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]

        def wait() -> None:
            with contextlib.suppress(BotoCoreError):  # An empty answer, or none: either is an end.
                assert received(sqs, url, WaitTimeSeconds=20) == []

        waiter = threading.Thread(target=wait)
        waiter.start()
        assert sandbox.stop() == 0
        waiter.join()
