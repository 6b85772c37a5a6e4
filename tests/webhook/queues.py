"""Queues of a running sandbox, and a consumer that reads one of them in a thread."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.setting_values import parse_queue_url
from gateway.sns import Verifier
from gateway.store.stores import Stores
from tests.support.environment import own_environment
from tests.support.sandbox import Sandbox
from tests.support.sns import TOPIC_ARN, Signer
from tests.support.stores import sqlite_stores
from tests.support.waiting import until
from tests.webhook.support import SIGNER
from webhook.confirm import Confirm
from webhook.inbox import Inbox, NotificationStore
from webhook.queue import Consumer, Pace
from webhook.sqs import Queue

SIMULATED = "arn:aws:sns:us-east-1:000000000000:sesgate"
SIMULATED_SIGNER = Signer.make(
    topic_arn=SIMULATED, signing_cert_url="http://127.0.0.1:4566/SimpleNotificationService-" + "0" * 32 + ".pem"
)
FAST = Pace(wait=1, first_rest=0.02, longest_rest=0.1, first_retry=0.02, longest_retry=0.1, refused=0)
_COUNTED = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


@dataclass
class Pair:
    """A queue with its dead-letter queue, to which a message goes after so many receipts; or none, with 0."""

    sandbox: Sandbox
    receives: int = 3
    url: str = ""
    dead_url: str = ""

    def __post_init__(self) -> None:
        self.client = self.sandbox.client("sqs")
        self.name = uuid.uuid4().hex
        self.dead_url = self.client.create_queue(QueueName=f"{self.name}-dead")["QueueUrl"]
        self.url = self.client.create_queue(QueueName=self.name, Attributes=self._redrive_policy())["QueueUrl"]

    def _redrive_policy(self) -> dict[str, str]:
        if not self.receives:
            return {}
        return {
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": self.arn(dead=True), "maxReceiveCount": self.receives})
        }

    def arn(self, *, dead: bool = False) -> str:
        url = self.dead_url if dead else self.url
        found = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def let_in(self, topic: str, *, dead: bool = False) -> None:
        """Allow SNS to put messages of the topic in."""
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        condition = {"ArnEquals": {"aws:SourceArn": topic}}
        policy = {"Statement": [{**allow, "Resource": self.arn(dead=dead), "Condition": condition}]}
        url = self.dead_url if dead else self.url
        self.client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})

    @property
    def queue(self) -> Queue:
        return Queue(parse_queue_url(self.url), {})

    @property
    def dead(self) -> Queue:
        return Queue(parse_queue_url(self.dead_url), {})

    def send(self, *bodies: bytes | str, dead: bool = False) -> None:
        for body in bodies:
            text = body if isinstance(body, str) else body.decode()
            self.client.send_message(QueueUrl=self.dead_url if dead else self.url, MessageBody=text)

    def held(self, *, dead: bool = False) -> int:
        """All that is in the queue, in somebody's hand or not."""
        url = self.dead_url if dead else self.url
        found = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTED))["Attributes"]
        return sum(int(found[name]) for name in _COUNTED)

    def visible(self, *, dead: bool = False) -> list[str]:
        """What somebody would be given now."""
        url = self.dead_url if dead else self.url
        answer = self.client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        return [message["Body"] for message in answer.get("Messages", ())]


def make_inbox(
    store: NotificationStore, confirm: Confirm = lambda _: None, hint: Callable[[int], None] = lambda _: None
) -> Inbox:
    """What verifies the envelopes of tests.support.sns, however old they are."""
    verifier = Verifier(lambda: frozenset({TOPIC_ARN}), lambda _: SIGNER.certificate_pem, max_age=None)
    return Inbox(verifier, store, confirm, hint)


@dataclass
class Told:
    """What a consumer reported: None when it reads, a sentence when it does not."""

    troubles: list[str | None] = field(default_factory=list)

    def __call__(self, trouble: str | None) -> None:
        self.troubles.append(trouble)

    def said(self, words: str) -> bool:
        return any(trouble is not None and words in trouble for trouble in self.troubles)


@contextmanager
def consuming(
    queue: Any, inbox: Inbox, *, ask_database: Callable[[], object] = lambda: None, pace: Pace = FAST
) -> Iterator[Told]:
    """A consumer in a thread of its own, until the end of the block."""
    told = Told()
    consumer = Consumer(queue, inbox, ask_database=ask_database, report=told, pace=pace)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        yield told
    finally:
        consumer.stop()
        thread.join(60)
        assert not thread.is_alive()


def until_empty(pair: Pair) -> None:
    until(lambda: pair.held() == 0, what="an empty queue")


def in_turn(*answers: Sequence[Any]) -> Callable[..., Any]:
    """A function that gives one answer after the other, and then nothing."""
    left = list(answers)
    return lambda **_: left.pop(0) if left else []


def message_id(body: bytes) -> str:
    return str(json.loads(body)["MessageId"])


def stored_ids(stores: Stores) -> set[str]:
    with stores.db.read() as sql:
        return {row[0] for row in sql.all("SELECT sns_message_id FROM notifications")}


def stored_in(directory: Path) -> set[str]:
    stores = sqlite_stores(directory)
    try:
        return stored_ids(stores)
    finally:
        stores.close()


def fact(directory: Path) -> dict[str, Any]:
    """What the consumer says of itself."""
    stores = sqlite_stores(directory)
    try:
        return stores.control.get("feedback-queue") or {}
    finally:
        stores.close()


def prepare(directory: Path, certificate: bytes = SIMULATED_SIGNER.certificate_pem) -> None:
    """A migrated data directory of a gateway that trusts this certificate of a simulated AWS."""
    sqlite_stores(directory).close()
    (directory / "sandbox").mkdir()
    (directory / "sandbox" / "sns-signing-cert.pem").write_bytes(certificate)


def start(
    sandbox: Sandbox, directory: Path, url: str, *program: str, topics: str = SIMULATED
) -> subprocess.Popen[bytes]:
    """The consumer, or another program in its environment."""
    simulated = {name: value for name, value in sandbox.environment().items() if name.startswith("AWS_")}
    ours = {
        "SESGATE_DATA_DIR": str(directory),
        "SESGATE_SNS_TOPIC_ARNS": topics,
        "SESGATE_FEEDBACK_QUEUE_URL": url,
    }
    return subprocess.Popen(
        [sys.executable, *(program or ("-m", "webhook.queue"))],
        env={**own_environment(), **simulated, **ours},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
