from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
import structlog
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from gateway.store.errors import StoreError, StoreUnavailableError
from tests.support.payloads import ses
from tests.support.sns import TOPIC_ARN, sns_time
from tests.webhook.support import SIGNER, Webhook
from webhook.confirm import ConfirmError
from webhook.notifications import MAX_BODY


@pytest.fixture
def webhook():
    return Webhook()


EVENT = ses.event("Bounce", bounce=ses.bounce())


def is_later(response) -> bool:
    return (
        response.status_code == 503 and int(response.headers["Retry-After"]) > 0 and response.json["status"] == "later"
    )


def post_stream(webhook, stream, length=None):
    """A POST as gunicorn hands it over while the body is still on its way; chunked without a length."""
    environ = create_environ("/sns", method="POST") | {"wsgi.input": stream, "wsgi.input_terminated": True}
    if length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        environ["CONTENT_LENGTH"] = str(length)
    return Response.from_app(webhook.app, environ, buffered=True)


class TestNotification:
    @pytest.mark.parametrize("version", ["1", "2"])
    def test_it_is_stored_before_the_200_and_hinted_after(self, webhook, version):
        body = SIGNER.notification(EVENT, version=version)
        response = webhook.post(body, SIGNER.headers(body))
        assert (response.status_code, response.json) == (200, {"status": "stored"})
        (stored,) = webhook.store.stored
        assert stored.message == json.dumps(EVENT) + "\n"
        assert stored.sns_message_id == json.loads(body)["MessageId"]
        assert (stored.topic_arn, webhook.hinted) == (TOPIC_ARN, [1])

    def test_it_is_stored_once_however_often_it_comes(self, webhook):
        body = SIGNER.notification(EVENT)
        assert [webhook.post(body).json["status"] for _ in range(3)] == ["stored", "known", "known"]
        assert (len(webhook.store.stored), webhook.hinted) == (1, [1])

    @pytest.mark.parametrize("message", [ses.CONFIRMED_TOPIC_TEXT, "not JSON at all", ""])
    def test_it_is_stored_whatever_it_says(self, webhook, message):
        assert webhook.post(SIGNER.notification(message)).status_code == 200

    def test_no_content_type_is_needed(self, webhook):
        assert webhook.post(SIGNER.notification(EVENT), {}).status_code == 200
        assert webhook.post(SIGNER.notification(EVENT), {"Content-Type": "application/json"}).status_code == 200

    @pytest.mark.parametrize("error", [StoreUnavailableError("busy"), StoreError("no such table")])
    def test_while_the_database_is_away_it_is_asked_for_again(self, webhook, error):
        webhook.store.error = error
        body = SIGNER.notification(EVENT)
        response = webhook.post(body)
        assert is_later(response)
        assert str(error) not in response.text
        webhook.store.error = None
        assert webhook.post(body).json["status"] == "stored"

    def test_a_hint_that_fails_changes_nothing(self, webhook):
        webhook.hint_error = RuntimeError("no threads left")
        assert webhook.post(SIGNER.notification(EVENT)).status_code == 200

    def test_one_line_is_logged_with_ids_and_without_content(self, webhook):
        with structlog.testing.capture_logs() as lines:
            body = SIGNER.notification(EVENT)
            webhook.post(body)
        (line,) = lines
        assert (line["event"], line["notification_id"], line["topic"]) == ("sns.notification", 1, TOPIC_ARN)
        assert line["sns_message_id"] == json.loads(body)["MessageId"]
        assert ses.RECIPIENT not in str(line)


class TestRefused:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"hello",
            b"{}",
            b"[" * 100_000,
            SIGNER.notification(EVENT, TopicArn="arn:aws:sns:us-east-1:210987654321:theirs"),
            SIGNER.subscription_confirmation(TopicArn="arn:aws:sns:us-east-1:210987654321:theirs"),
            SIGNER.notification(EVENT, SigningCertURL="https://evil.example/SimpleNotificationService-0.pem"),
            b'{"Type": "UnsubscriptionConfirmation"}',
        ],
    )
    def test_what_can_never_be_good_gets_403_with_a_reason_and_no_network_call(self, webhook, body):
        response = webhook.post(body)
        assert (response.status_code, response.json["status"]) == (403, "refused")
        assert response.json["reason"].endswith(".")
        assert (webhook.store.stored, webhook.confirmed, webhook.fetched) == ([], [], [])

    def test_a_changed_message_is_refused(self, webhook):
        envelope = {**json.loads(SIGNER.notification(EVENT)), "Message": "{}"}
        assert webhook.post(json.dumps(envelope).encode()).status_code == 403
        assert webhook.store.stored == []

    def test_a_header_that_contradicts_the_body_is_refused(self, webhook):
        headers = {"x-amz-sns-message-type": "SubscriptionConfirmation"}
        assert webhook.post(SIGNER.notification(EVENT), headers).status_code == 403
        assert webhook.store.stored == []

    def test_raw_delivery_is_refused_with_the_way_to_switch_it_off(self, webhook):
        response = webhook.post(json.dumps(EVENT).encode(), {"x-amz-sns-rawdelivery": "true"})
        assert response.status_code == 403
        assert "aws sns set-subscription-attributes" in response.json["reason"]
        assert "RawMessageDelivery" in response.json["reason"]

    def test_the_reason_repeats_nothing_that_a_stranger_sent(self, webhook):
        body = json.dumps({"TopicArn": "<script>", "Type": "<script>"}).encode()
        assert "script" not in webhook.post(body).text

    def test_a_refusal_is_logged_with_its_reason(self, webhook):
        with structlog.testing.capture_logs() as lines:
            webhook.post(b"hello")
        assert [(line["event"], line["log_level"]) for line in lines] == [("sns.refused", "warning")]


class TestTooLarge:
    def test_a_body_that_says_so_is_not_read(self, webhook):
        class Unreadable(BytesIO):
            def read(self, *arguments):
                raise AssertionError("it was read")

        response = post_stream(webhook, Unreadable(), length=MAX_BODY + 1)
        assert response.status_code == 413
        assert str(MAX_BODY) in response.json["reason"]

    def test_a_chunked_body_is_read_no_further_than_it_may_go(self, webhook):
        class Endless(BytesIO):
            count = 0

            def read(self, size=-1):
                self.count += size
                assert 0 < self.count < 4 * MAX_BODY
                return b"x" * size

            def readinto(self, buffer):
                buffer[:] = self.read(len(buffer))
                return len(buffer)

        assert post_stream(webhook, Endless()).status_code == 413

    def test_a_chunked_body_that_fits_is_stored(self, webhook):
        assert post_stream(webhook, BytesIO(SIGNER.notification(EVENT))).status_code == 200

    def test_a_body_is_read_as_far_as_it_says(self, webhook):
        body = SIGNER.notification(EVENT)
        stream = BytesIO(body + b"POST /sns HTTP/1.1")
        assert post_stream(webhook, stream, length=len(body)).status_code == 200
        assert stream.tell() == len(body)

    def test_a_large_genuine_message_is_stored(self, webhook):
        body = SIGNER.notification("x" * 256 * 1024)
        assert webhook.post(body).status_code == 200


class TestLater:
    def test_an_age_outside_the_window_may_be_our_clock(self, webhook):
        old = sns_time(datetime.now(UTC) - timedelta(days=2))
        response = webhook.post(SIGNER.notification(EVENT, Timestamp=old))
        assert is_later(response)
        assert "clock" in response.json["reason"]

    def test_a_body_that_breaks_off_is_asked_for_again(self, webhook):
        assert is_later(post_stream(webhook, BytesIO(b"{"), length=100))

    @pytest.mark.parametrize(
        ("length", "error"),
        [(100, ConnectionResetError()), (None, ConnectionResetError()), (None, InvalidChunkSize(b"x"))],
        ids=["of a length", "chunked", "chunks that are none"],
    )
    def test_a_body_that_cannot_be_read_is_the_clients_matter(self, webhook, length, error):
        class Broken(BytesIO):
            def read(self, *_):
                raise error

            readinto = read

        with structlog.testing.capture_logs() as lines:
            assert is_later(post_stream(webhook, Broken(), length=length))
        assert lines == []

    def test_an_error_nobody_thought_of_reaches_the_log_and_not_the_client(self, webhook):
        webhook.store.store_all = lambda _: 1 / 0
        with structlog.testing.capture_logs() as lines:
            response = webhook.post(SIGNER.notification(EVENT))
        assert is_later(response)
        assert "division" not in response.text
        assert any(isinstance(line.get("exc_info"), ZeroDivisionError) for line in lines)


class TestConfirmations:
    def test_a_subscription_is_confirmed_by_its_token(self, webhook):
        body = SIGNER.subscription_confirmation()
        response = webhook.post(body, SIGNER.headers(body))
        assert (response.status_code, response.json) == (200, {"status": "confirmed"})
        (confirmed,) = webhook.confirmed
        assert (confirmed.token, confirmed.topic.arn) == (json.loads(body)["Token"], TOPIC_ARN)

    def test_a_confirmation_that_sns_does_not_take_is_tried_again(self, webhook):
        webhook.confirm_error = ConfirmError("AuthorizationError of account 123456789012")
        response = webhook.post(SIGNER.subscription_confirmation())
        assert is_later(response)
        assert "123456789012" not in response.text

    def test_a_forged_confirmation_confirms_nothing(self, webhook):
        envelope = {**json.loads(SIGNER.subscription_confirmation()), "Token": "mine"}
        assert webhook.post(json.dumps(envelope).encode()).status_code == 403
        assert webhook.confirmed == []

    def test_an_unsubscription_is_told_to_the_operator_and_not_undone(self, webhook):
        with structlog.testing.capture_logs() as lines:
            response = webhook.post(SIGNER.unsubscribe_confirmation())
        assert response.status_code == 200
        assert webhook.confirmed == []
        assert [(line["event"], line["log_level"]) for line in lines] == [("sns.unsubscribed", "warning")]


class TestOtherRequests:
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
    def test_sns_takes_only_post(self, webhook, method):
        response = webhook.client.open("/sns", method=method)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
        assert response.content_type == "application/json"

    @pytest.mark.parametrize("path", ["/", "/sns/", "//sns", "/SNS", "/metrics", "/static/x", "/%00"])
    def test_nothing_else_is_there_and_nothing_redirects(self, webhook, path):
        for response in (webhook.client.get(path), webhook.client.post(path, data=SIGNER.notification(EVENT))):
            assert (response.status_code, response.json["status"]) == (404, "refused")

    def test_it_is_alive_and_ready(self, webhook):
        assert webhook.client.get("/healthz").status_code == 200
        assert webhook.client.get("/readyz").status_code == 200

    def test_without_a_database_it_is_alive_and_not_ready(self, webhook):
        webhook.store.error = StoreUnavailableError("the disk is gone")
        assert webhook.client.get("/healthz").status_code == 200
        assert is_later(webhook.client.get("/readyz"))
