from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import structlog

from gateway.setting_values import parse_queue_url
from gateway.store.control import FEEDBACK_QUEUE
from gateway.store.errors import StoreUnavailableError
from gateway.store.schema import migrate
from tests.support.payloads import ses
from tests.support.ports import free_port
from tests.support.sns import Signer, sns_time
from tests.support.stores import sqlite_stores
from tests.support.waiting import until
from tests.webhook.queues import (
    FAST,
    SIMULATED_SIGNER,
    Pair,
    consuming,
    fact,
    in_turn,
    make_inbox,
    message_id,
    prepare,
    start,
    stored_ids,
    stored_in,
    until_empty,
)
from tests.webhook.support import SIGNER, Store
from webhook import queue
from webhook.app import create_app
from webhook.confirm import ConfirmError
from webhook.queue import Consumer, Pace
from webhook.sqs import LONGEST_VISIBILITY, Queue, QueueDeniedError, QueueError, SqsMessage

EVENT = ses.event("Bounce", bounce=ses.bounce())

pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def stores(tmp_path):
    opened = sqlite_stores(tmp_path)
    yield opened
    opened.close()


class TestGenuine:
    def test_what_comes_is_stored_hinted_and_only_then_deleted(self, pair, stores):
        bodies = [SIGNER.notification(EVENT, version=version) for version in "12" * 13]
        pair.send(*bodies)
        hinted = []
        with consuming(pair.queue, make_inbox(stores.notifications, hint=hinted.append)):
            until_empty(pair)
        assert stored_ids(stores) == set(map(message_id, bodies))
        assert len(hinted) == len(bodies)

    def test_it_may_be_of_any_age_for_a_queue_may_be_redriven(self, pair):
        store = Store()
        pair.send(SIGNER.notification(EVENT, Timestamp=sns_time(datetime.now(UTC) - timedelta(hours=20))))
        pair.send(SIGNER.notification(EVENT, Timestamp=sns_time(datetime.now(UTC) - timedelta(hours=23, minutes=50))))
        ages = Signer.make(not_before=datetime.now(UTC) - timedelta(days=100))
        old = ages.notification(EVENT, Timestamp=sns_time(datetime.now(UTC) - timedelta(days=13)))
        inbox = make_inbox(store)
        inbox._verifier._certificates = lambda url: (
            ages.certificate_pem if url == ages.signing_cert_url else SIGNER.certificate_pem
        )
        pair.send(old)
        with consuming(pair.queue, inbox):
            until_empty(pair)
        assert message_id(old) in {stored.sns_message_id for stored in store.stored}
        assert len(store.stored) == 3

    def test_what_comes_twice_is_stored_once(self, pair):
        store, body = Store(), SIGNER.notification(EVENT)
        pair.send(body, body, body)
        with structlog.testing.capture_logs() as lines, consuming(pair.queue, make_inbox(store)):
            until_empty(pair)
        assert len(store.stored) == 1
        assert sorted(line["known"] for line in lines if line["event"] == "sns.notification") == [False, True, True]

    def test_beside_the_webhook_everything_is_stored_once(self, pair, stores):
        bodies = [SIGNER.notification(EVENT) for _ in range(30)]
        inbox = make_inbox(stores.notifications)
        client = create_app(inbox=inbox, ask_database=lambda: None).test_client()
        sender = threading.Thread(target=pair.send, args=bodies)
        with consuming(pair.queue, inbox):
            sender.start()
            assert {client.post("/sns", data=body).status_code for body in reversed(bodies)} == {200}
            sender.join(60)
            until_empty(pair)
        with stores.db.read() as sql:
            assert sql.value("SELECT count(*) FROM notifications") == 30
        assert stored_ids(stores) == set(map(message_id, bodies))


class TestConfirmations:
    def test_a_subscription_from_another_account_is_confirmed_and_an_end_is_noted(self, pair):
        tokens = []
        asked, ended = SIGNER.subscription_confirmation(), SIGNER.unsubscribe_confirmation()
        pair.send(asked, ended)
        inbox = make_inbox(Store(), confirm=lambda message: tokens.append(message.token))
        with structlog.testing.capture_logs() as lines, consuming(pair.queue, inbox):
            until_empty(pair)
        assert tokens == [json.loads(asked)["Token"]]
        assert [line["event"] for line in lines if line["event"] == "sns.unsubscribed"] == ["sns.unsubscribed"]

    def test_one_that_sns_does_not_take_comes_again(self, pair):
        asked = []

        def confirm(message):
            asked.append(message)
            if len(asked) == 1:
                raise ConfirmError("not now")

        pair.send(SIGNER.subscription_confirmation())
        with consuming(pair.queue, make_inbox(Store(), confirm=confirm)):
            until_empty(pair)
        assert len(asked) == 2


class TestRefused:
    FORGED = json.dumps({**json.loads(SIGNER.notification(EVENT)), "Message": "{}"})
    RAW = json.dumps(EVENT)

    def test_what_is_never_accepted_ends_in_the_dead_letter_queue_and_holds_nothing_up(self, pair):
        store, good = Store(), SIGNER.notification(EVENT)
        pair.send(self.FORGED, self.RAW, "hello", good)
        with structlog.testing.capture_logs() as lines, consuming(pair.queue, make_inbox(store)):
            until(lambda: pair.held(dead=True) == 3, what="three dead letters")
            until_empty(pair)
        assert [stored.sns_message_id for stored in store.stored] == [message_id(good)]
        assert sorted(pair.visible(dead=True)) == sorted([self.FORGED, self.RAW, "hello"])
        refused = [line for line in lines if line["event"] == "queue.refused"]
        assert len(refused) == 3 * pair.receives
        assert all(line["sqs_message_id"] and line["reason"].strip() for line in refused)
        assert any("RawMessageDelivery" in line["reason"] for line in refused)
        assert ses.RECIPIENT not in str(lines)

    def test_without_a_dead_letter_queue_it_is_warned_and_they_do_not_spin(self, sandbox):
        pair = Pair(sandbox, receives=0)
        pair.send(self.FORGED)
        queue, hidden = pair.queue, []
        hide = queue.hide
        queue.hide = lambda messages: (hidden.extend(messages), hide(messages))
        with structlog.testing.capture_logs() as lines, consuming(queue, make_inbox(Store())):
            until(lambda: hidden, what="something that is set aside")
        assert [seconds for _, seconds in hidden] == [LONGEST_VISIBILITY]
        assert "queue.no_dead_letter_queue" in [line["event"] for line in lines]
        assert (pair.held(), pair.visible()) == (1, [])

    def test_a_dead_letter_queue_that_is_given_later_is_noticed(self):
        batch = [SqsMessage("a", "ra", self.FORGED, 1)]

        class Source:
            asked, hidden = [], []
            receive = staticmethod(in_turn(batch, batch))

            def delete(self, messages):
                assert messages == []

            def hide(self, messages):
                self.hidden += [seconds for _, seconds in messages]

            def has_dead_letter_queue(self):
                self.asked.append(1)
                return len(self.asked) > 2

        source = Source()
        with consuming(source, make_inbox(Store()), pace=Pace(refused=30)):
            until(lambda: len(source.hidden) == 2, what="two that are set aside")
        assert source.hidden == [LONGEST_VISIBILITY, 30]


class TestDatabaseAway:
    def test_nothing_is_deleted_and_nothing_more_is_received_until_it_is_back(self, pair):
        store = Store(error=StoreUnavailableError("The disk is gone."))
        asked = []

        def ask():
            asked.append(pair.held())
            store.ask()

        bodies = [SIGNER.notification(EVENT) for _ in range(5)]
        pair.send(*bodies)
        with consuming(pair.queue, make_inbox(store), ask_database=ask) as told:
            until(lambda: len(asked) > 3, what="a database that is asked for")
            assert set(asked) == {5}
            assert told.said("The disk is gone.")
            store.error = None
            until_empty(pair)
        assert len(store.stored) == 5
        assert (pair.held(dead=True), told.troubles[-2:]) == (0, [None, "it was stopped"])

    def test_one_that_can_only_be_read_is_of_no_use(self, tmp_path):
        stores = sqlite_stores(tmp_path, gate_timeout=timedelta(seconds=0.1))
        try:
            queue._write_something(stores.control)
            (gate,) = tmp_path.glob("*-gate")
            with gate.open() as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                assert stores.control.get(FEEDBACK_QUEUE) == {"reading": False}
                with pytest.raises(StoreUnavailableError):
                    queue._write_something(stores.control)
        finally:
            stores.close()

    def test_what_the_database_takes_of_a_batch_is_deleted(self, pair):
        class Choosy(Store):
            def _store(self, notification):
                if "poison" in notification.message:
                    return StoreUnavailableError("no")
                return super()._store(notification)

        store = Choosy()
        pair.send(SIGNER.notification("poison"), SIGNER.notification(EVENT), SIGNER.notification(EVENT))
        with consuming(pair.queue, make_inbox(store)):
            until(lambda: pair.held(dead=True) == 1 and pair.held() == 0, what="one dead letter")
        assert len(store.stored) == 2


class TestUnforeseen:
    def test_a_confirmation_that_fails_in_an_unknown_way_harms_no_other_message(self, pair):
        def confirm(_message):
            raise ValueError("Invalid endpoint")

        store, good = Store(), SIGNER.notification(EVENT)
        pair.send(SIGNER.subscription_confirmation(), good)
        with structlog.testing.capture_logs() as lines, consuming(pair.queue, make_inbox(store, confirm=confirm)):
            until(lambda: pair.held(dead=True) == 1 and pair.held() == 0, what="one dead letter")
        assert [stored.sns_message_id for stored in store.stored] == [message_id(good)]
        assert "queue.not_reading" not in [line["event"] for line in lines]

    def test_an_error_nobody_thought_of_ends_neither_the_consumer_nor_the_batch(self, pair):
        store, strange, good = Store(), SIGNER.notification(EVENT), SIGNER.notification(EVENT)
        inbox = make_inbox(store)
        verify = inbox._verifier.verify
        inbox._verifier.verify = lambda body: 1 // 0 if body == strange else verify(body)
        pair.send(strange, good)
        with structlog.testing.capture_logs() as lines, consuming(pair.queue, inbox):
            until(lambda: pair.held(dead=True) == 1 and pair.held() == 0, what="one dead letter")
        assert len(store.stored) == 1
        assert any(line.get("exc_info") for line in lines)

    def test_an_error_in_the_store_is_rested_after(self, pair):
        store, failures = Store(), [ZeroDivisionError()]
        take = store.store_all

        def sometimes(new):
            if failures:
                raise failures.pop()
            return take(new)

        store.store_all = sometimes
        pair.send(SIGNER.notification(EVENT))
        with consuming(pair.queue, make_inbox(store), pace=Pace(wait=1, visibility=1, first_rest=0.02)) as told:
            until_empty(pair)
        assert told.said("unforeseen")
        assert len(store.stored) == 1


class TestStopping:
    def test_what_comes_when_the_end_was_asked_for_is_given_back(self, pair):
        pair.send(SIGNER.notification(EVENT))
        queue, store = pair.queue, Store()
        receive = queue.receive
        consumer = Consumer(queue, make_inbox(store), ask_database=lambda: None, pace=FAST)

        def stopping(**how):
            consumer.stop()
            return receive(**how)

        queue.receive = stopping
        consumer.run()
        assert store.stored == []
        assert len(pair.visible()) == 1

    def test_a_queue_that_says_at_once_that_it_is_empty_is_not_asked_in_a_loop(self):
        asked = []

        class Hasty:
            def has_dead_letter_queue(self):
                return True

            def receive(self, **how):
                asked.append(how)
                return []

            def delete(self, messages):
                assert messages == []

            hide = delete

        with consuming(Hasty(), make_inbox(Store()), pace=Pace(first_rest=3600)) as told:
            until(lambda: told.troubles == [None], what="a queue that is read")
        assert len(asked) == 1

    def test_it_waits_between_two_failures_and_ends_while_it_waits(self):
        class Away:
            def has_dead_letter_queue(self):
                raise QueueError("SQS cannot be reached.")

        pace = Pace(first_rest=3600, longest_rest=3600)
        with consuming(Away(), make_inbox(Store()), pace=pace) as told:
            until(lambda: told.troubles, what="a trouble")
        assert told.troubles == ["SQS cannot be reached.", "it was stopped"]


class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.asked.append(dict(self.headers))
        self.rfile.read(int(self.headers["Content-Length"]))
        status, code = self.server.answer
        content = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "No."}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def aws() -> Iterator[ThreadingHTTPServer]:
    """An SQS that refuses everything in one way."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.answer, server.asked = (400, "InvalidRequest"), []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestAwsErrors:
    @pytest.mark.parametrize(
        ("status", "code", "words"),
        [
            (400, "QueueDoesNotExist", "There is no queue"),
            (403, "AccessDeniedException", "sqs:ReceiveMessage"),
            (403, "InvalidClientTokenId", "does not accept the credentials"),
            (400, "UnrecognizedClientException", "does not accept the credentials"),
            (403, "ExpiredToken", "does not accept the credentials"),
            (500, "InternalFailure", "InternalFailure"),
        ],
    )
    def test_each_answer_is_one_clear_sentence(self, aws, status, code, words):
        aws.answer = (status, code)
        url = f"http://127.0.0.1:{aws.server_port}/123456789012/feedback"
        with pytest.raises(QueueError) as told:
            Queue(parse_queue_url(url), {}).receive(wait=0, visibility=1)
        assert words in str(told.value)
        assert url in str(told.value)
        assert str(told.value)[-1] in ".?"

    def test_a_real_queue_that_is_missing_is_told(self, sandbox):
        url = parse_queue_url(f"{sandbox.endpoint}/000000000000/nobody-made-it")
        with pytest.raises(QueueError, match="There is no queue"):
            Queue(url, {}).receive(wait=0, visibility=1)

    def test_nobody_at_home_is_told(self):
        url = parse_queue_url(f"http://127.0.0.1:{free_port()}/000000000000/feedback")
        with pytest.raises(QueueError, match="SQS cannot be reached"):
            Queue(url, {}).receive(wait=0, visibility=1)

    def test_no_credentials_are_told(self, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(QueueDeniedError, match="no AWS credentials"):
            Queue(parse_queue_url("http://127.0.0.1:1/000000000000/feedback"), {}).receive(wait=0, visibility=1)

    def test_no_region_is_told_where_the_url_has_none(self, monkeypatch):
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(QueueError, match="AWS_REGION is not set"):
            Queue(parse_queue_url("http://127.0.0.1:1/000000000000/feedback"), {}).receive(wait=0, visibility=1)

    def test_the_region_in_the_url_stands_above_the_environments(self, aws, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{aws.server_port}")
        url = parse_queue_url("https://sqs.eu-central-1.amazonaws.com/123456789012/feedback")
        with pytest.raises(QueueError):
            Queue(url, os.environ).receive(wait=0, visibility=1)
        [asked] = aws.asked
        assert "/eu-central-1/sqs/aws4_request" in asked["Authorization"]

    def test_it_goes_on_when_sqs_is_back_and_credentials_are_renewed(self, sandbox, pair):
        body, store = SIGNER.notification(EVENT), Store()
        pair.send(body)
        queue = pair.queue
        make, failures = queue._make_client, [1, 1, 1]

        def broken():
            if failures:
                failures.pop()
                raise ValueError("credentials that nobody knows")
            return make()

        queue._make_client = broken
        with consuming(queue, make_inbox(store)) as told:
            until_empty(pair)
        assert told.said("credentials that nobody knows")
        assert len(store.stored) == 1

    def test_reading_goes_on_without_the_right_to_see_the_attributes(self, pair):
        queue = pair.queue

        def denied():
            raise QueueDeniedError("not you")

        queue.has_dead_letter_queue = denied
        store = Store()
        pair.send(SIGNER.notification(EVENT))
        with structlog.testing.capture_logs() as lines, consuming(queue, make_inbox(store)):
            until_empty(pair)
        assert "queue.redrive_policy_unknown" in [line["event"] for line in lines]

    def test_a_message_that_sqs_does_not_delete_is_told_and_comes_again(self, pair):
        pair.send(SIGNER.notification(EVENT))
        queue, store = pair.queue, Store()
        stale = SqsMessage("1", "no-such-receipt", "", 1)
        with pytest.raises(QueueError, match="for 1 of the messages"):
            queue.delete([stale])
        delete, failures = queue.delete, [QueueError("not now")]

        def sometimes(messages):
            if messages and failures:
                raise failures.pop()
            delete(messages)

        queue.delete = sometimes
        with consuming(queue, make_inbox(store), pace=Pace(wait=1, visibility=1, first_rest=0.02)):
            until_empty(pair)
        assert len(store.stored) == 1


def test_messages_of_a_batch_that_end_differently_are_told_apart():
    good, forged = SIGNER.notification(EVENT).decode(), TestRefused.FORGED
    batch = [SqsMessage("a", "ra", good, 1), SqsMessage("b", "rb", forged, 2), SqsMessage("c", "rc", good, 1)]

    class Source:
        deleted, hidden = [], []
        receive = staticmethod(in_turn(batch))

        def delete(self, messages):
            self.deleted += [message.id for message in messages]

        def hide(self, messages):
            self.hidden += [(message.id, seconds) for message, seconds in messages]

        def has_dead_letter_queue(self):
            return True

    source = Source()
    with consuming(source, make_inbox(Store()), pace=Pace(refused=30)):
        until(lambda: source.hidden, what="one that is left")
    assert (source.deleted, source.hidden) == (["a", "c"], [("b", 30)])


# The program


KILLED_BEFORE_DELETING = """
import os, signal, sys
from webhook import queue, sqs
pace = queue.Pace(visibility=1)
queue.Pace = lambda: pace
sqs.Queue.delete = lambda self, messages: messages and os.kill(os.getpid(), signal.SIGKILL)
sys.exit(queue.main())
"""


def test_one_that_is_killed_between_commit_and_delete_is_given_it_again_and_knows_it(sandbox, pair, installation):
    body = SIMULATED_SIGNER.notification(EVENT)
    pair.send(body)
    with start(sandbox, installation, pair.url, "-c", KILLED_BEFORE_DELETING) as killed:
        output, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, output.decode()
    assert pair.held() == 1
    with start(sandbox, installation, pair.url) as process:
        try:
            until_empty(pair)
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output.decode()
    assert b"known=True" in output
    assert stored_in(installation) == {message_id(body)}


def test_what_the_simulated_sns_signs_comes_through_its_queue(sandbox, pair, tmp_path):
    prepare(tmp_path, sandbox.certificate_file.read_bytes())
    sns = sandbox.client("sns")
    topic = sns.create_topic(Name=pair.name)["TopicArn"]
    pair.let_in(topic)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=pair.arn())
    published = {sns.publish(TopicArn=topic, Message=json.dumps(EVENT))["MessageId"] for _ in range(3)}
    with start(sandbox, tmp_path, pair.url, topics=topic) as process:
        try:
            until(lambda: stored_in(tmp_path) == published, every=0.3, what="three notifications")
            until_empty(pair)
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_the_middle_of_a_long_poll(sandbox, pair, installation, number):
    with start(sandbox, installation, pair.url) as process:
        try:
            until(lambda: fact(installation).get("reading"), what="a consumer that reads")
            process.send_signal(number)
            # Well before the poll (20 s) or its time-out (30 s) would be over.
            output, _ = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == 0, output.decode()
    assert b"Traceback" not in output


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "SESGATE_FEEDBACK_QUEUE_URL is not set"),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/feedback.fifo", "FIFO"),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/feedback", "a queue of a real AWS account"),
    ],
)
def test_what_cannot_be_read_is_no_way_to_start(sandbox, installation, url, words):
    with start(sandbox, installation, url) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.decode().count("\n")) == (2, 1)
    assert words in output.decode()


def test_a_database_of_a_real_account_takes_nothing_from_a_simulated_queue(sandbox, tmp_path):
    migrate(f"sqlite:///{tmp_path / 'sesgate.db'}", "aws")
    with start(sandbox, tmp_path, f"{sandbox.endpoint}/000000000000/feedback") as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, b"real AWS account" in output) == (1, True)
