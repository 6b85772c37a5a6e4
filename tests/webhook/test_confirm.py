from __future__ import annotations

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest

from gateway.sns import SubscriptionConfirmation
from gateway.sns_topics import parse_topic
from webhook.confirm import ConfirmError, confirm_subscription

ARN = "arn:aws:sns:eu-west-3:123456789012:mail"
CONFIRMED = (
    b'<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ConfirmSubscriptionResult>'
    b"<SubscriptionArn>arn:aws:sns:eu-west-3:123456789012:mail:2bcfbf39</SubscriptionArn></ConfirmSubscriptionResult>"
    b"</ConfirmSubscriptionResponse>"
)
DENIED = (
    b'<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>'
    b"<Code>AuthorizationError</Code><Message>not authorized</Message></Error></ErrorResponse>"
)
MESSAGE = SubscriptionConfirmation(
    message_id="1", topic=parse_topic(ARN), sent_at=datetime(2026, 11, 21, tzinfo=UTC), token="t" * 64
)


class Sns(HTTPServer):
    """Answers every call alike and keeps them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = (200, CONFIRMED)
        self.calls: list[tuple[str, dict[str, list[str]]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Sns

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.calls.append((self.headers["Authorization"], parse_qs(body)))
        status, content = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def sns(monkeypatch):
    server = Sns()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_subscription_is_confirmed_in_the_topics_region_and_protected(sns):
    confirm_subscription(MESSAGE)
    ((authorization, call),) = sns.calls
    assert call["Action"] == ["ConfirmSubscription"]
    assert (call["TopicArn"], call["Token"]) == ([ARN], ["t" * 64])
    assert call["AuthenticateOnUnsubscribe"] == ["true"]
    assert "/eu-west-3/sns/" in authorization


def test_a_refusal_of_sns_is_one_error(sns):
    sns.answer = (403, DENIED)
    with pytest.raises(ConfirmError, match="AuthorizationError"):
        confirm_subscription(MESSAGE)
    assert len(sns.calls) == 1


def test_an_error_of_sns_is_tried_once_more_and_then_left_to_its_own_retries(sns):
    sns.answer = (500, b"")
    with pytest.raises(ConfirmError):
        confirm_subscription(MESSAGE)
    assert len(sns.calls) == 2


def test_a_network_that_is_away_is_an_error(sns, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ConfirmError):
        confirm_subscription(MESSAGE)
