from __future__ import annotations

import base64
import os
import re
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import boto3
import botocore.exceptions as boto
import pytest
import trustme

from tasks.ses import SesClient, SesError, classify
from tasks.ses_errors import Answer, ErrorClass, find
from tests.support.ses import ACCEPTED, HttpSes, answer, hang_up

ATTEMPT_ID = "0123456789abcdef0123456789abcdef"


@contextmanager
def raises(error_class, match=None):
    with pytest.raises(SesError, match=match) as raised:
        yield
    assert raised.value.error_class is error_class


def client_error(code, status, text=""):
    return boto.ClientError(
        {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}, "SendEmail"
    )


@pytest.mark.parametrize(
    ("code", "status", "text", "meaning", "reason"),
    [
        ("MessageRejected", 400, "Bad.", ErrorClass.MESSAGE, "SES answered MessageRejected: Bad."),
        ("BadRequestException", 400, None, ErrorClass.MESSAGE, "SES answered BadRequestException"),
        ("TooManyRequestsException", 429, None, ErrorClass.THROTTLED, "SES answered TooManyRequestsException"),
        (None, 418, None, ErrorClass.UNKNOWN, "SES answered an error without a code"),
        (
            "RequestTimeTooSkewed",
            403,
            "Skewed.",
            ErrorClass.ACCOUNT,
            f"SES answered RequestTimeTooSkewed: Skewed. ({find(Answer('RequestTimeTooSkewed', '', 403)).advice})",
        ),
    ],
)
def test_an_answer_of_ses_becomes_a_class_and_a_reason(code, status, text, meaning, reason):
    classified = classify(client_error(code, status, text))
    assert classified.error_class is meaning
    assert str(classified) == reason


def test_an_answer_without_anything_is_ambiguous():
    assert classify(boto.ClientError({}, "SendEmail")).error_class is ErrorClass.AMBIGUOUS


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (boto.EndpointConnectionError(endpoint_url="https://x", error="refused"), ErrorClass.TRANSIENT),
        (boto.ConnectTimeoutError(endpoint_url="https://x"), ErrorClass.TRANSIENT),
        (boto.ProxyConnectionError(proxy_url="http://proxy"), ErrorClass.TRANSIENT),
        (boto.SSLError(endpoint_url="https://x", error="somewhere in the answer"), ErrorClass.AMBIGUOUS),
        (boto.NoCredentialsError(), ErrorClass.ACCOUNT),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), ErrorClass.ACCOUNT),
        (boto.CredentialRetrievalError(provider="process", error_msg="no"), ErrorClass.ACCOUNT),
        (boto.UnauthorizedSSOTokenError(), ErrorClass.ACCOUNT),
        (boto.NoRegionError(), ErrorClass.ACCOUNT),
        (boto.ProfileNotFound(profile="x"), ErrorClass.ACCOUNT),
        (boto.InvalidRegionError(region_name="-"), ErrorClass.ACCOUNT),
        (boto.ParamValidationError(report="no"), ErrorClass.MESSAGE),
        (boto.ReadTimeoutError(endpoint_url="https://x"), ErrorClass.AMBIGUOUS),
        (boto.ConnectionClosedError(endpoint_url="https://x"), ErrorClass.AMBIGUOUS),
        (boto.HTTPClientError(error="reset"), ErrorClass.AMBIGUOUS),
        (boto.ResponseStreamingError(error="cut"), ErrorClass.AMBIGUOUS),
        (boto.BotoCoreError(), ErrorClass.AMBIGUOUS),
        (OSError("whatever"), ErrorClass.AMBIGUOUS),
    ],
)
def test_what_an_exception_on_this_side_means(error, meaning):
    classified = classify(error)
    assert classified.error_class is meaning
    assert type(error).__name__ in str(classified)


def test_a_reason_is_printable_and_short():
    reason = str(classify(client_error("BadRequestException", 400, "a\r\nb\x00\x1b[2J" + "x" * 9999)))
    assert reason.isprintable()
    assert len(reason) < 600


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return monkeypatch


@pytest.fixture
def ses(aws):
    with HttpSes().running() as running:
        aws.setenv("AWS_ENDPOINT_URL_SESV2", running.url)
        yield running


def send(configuration_set="sesgate", read_timeout=30.0, client=None):
    client = client or SesClient(configuration_set, threads=2, read_timeout=read_timeout)
    return client.send(b"From: a@example.org\r\n\r\nx\r\n", "b@example.com", ATTEMPT_ID)


def test_a_mail_goes_to_its_one_recipient_with_our_tag_and_the_sender_of_the_mail_itself(ses):
    assert send() == "ses-1"
    ((path, request),) = ses.requests
    assert path == "/v2/email/outbound-emails"
    assert request == {
        "Destination": {"ToAddresses": ["b@example.com"]},
        "Content": {"Raw": {"Data": base64.b64encode(b"From: a@example.org\r\n\r\nx\r\n").decode()}},
        "EmailTags": [{"Name": "sesgate-attempt", "Value": ATTEMPT_ID}],
        "ConfigurationSetName": "sesgate",
    }


def test_the_configuration_set_and_the_tags_of_a_credential_go_along(ses):
    client = SesClient("sesgate", threads=2, read_timeout=30.0)
    client.send(b"x", "b@example.com", ATTEMPT_ID, configuration_set="shop-set", tags=(("team", "shop"), ("a", "b")))
    ((_, request),) = ses.requests
    assert request["ConfigurationSetName"] == "shop-set"
    assert request["EmailTags"] == [
        {"Name": "sesgate-attempt", "Value": ATTEMPT_ID},
        {"Name": "team", "Value": "shop"},
        {"Name": "a", "Value": "b"},
    ]


def test_the_caller_says_who_it_is(ses):
    said = []

    def respond(request):
        said.append(request.headers["User-Agent"])
        ACCEPTED(request)

    ses.answer = respond
    send()
    (agent,) = said
    products = [product.partition("/") for product in agent.split(" ")]
    assert [name for name, _, _ in products] == ["sesgate", "Boto3", "Botocore"]
    assert all(re.fullmatch(r"[\w.+!-]+", version) for _, _, version in products)


NO_SUCH_SET = answer(404, {"__type": "NotFoundException", "message": "Configuration set <shop-set> does not exist."})


@pytest.mark.parametrize(
    ("response", "chosen", "meaning"),
    [
        (NO_SUCH_SET, {}, ErrorClass.ACCOUNT),
        (NO_SUCH_SET, {"configuration_set": "shop-set"}, ErrorClass.IDENTITY),
        (NO_SUCH_SET, {"tags": (("team", "shop"),)}, ErrorClass.ACCOUNT),
        (answer(400, {"__type": "ConfigurationSetSendingPausedException"}), {}, ErrorClass.ACCOUNT),
        (
            answer(400, {"__type": "ConfigurationSetSendingPausedException"}),
            {"configuration_set": "shop-set"},
            ErrorClass.IDENTITY,
        ),
        (
            answer(400, {"__type": "BadRequestException", "message": "Invalid tag value <x y>: only alphanumeric"}),
            {"tags": (("team", "x y"),)},
            ErrorClass.IDENTITY,
        ),
        (
            answer(
                403,
                {
                    "__type": "AccessDeniedException",
                    "message": "not authorized on resource arn:aws:ses:eu-west-1:1:configuration-set/shop-set",
                },
            ),
            {"configuration_set": "shop-set"},
            ErrorClass.IDENTITY,
        ),
        (answer(400, {"__type": "AccountSuspendedException"}), {"configuration_set": "shop-set"}, ErrorClass.ACCOUNT),
        (
            answer(429, {"__type": "TooManyRequestsException", "message": "Maximum sending rate exceeded."}),
            {"configuration_set": "shop-set"},
            ErrorClass.THROTTLED,
        ),
    ],
)
def test_what_is_wrong_with_one_credential_does_not_stop_the_others(ses, response, chosen, meaning):
    ses.answer = response
    client = SesClient("sesgate", threads=2, read_timeout=30.0)
    advice = "look at the configuration set and the tags of the credential" if meaning is ErrorClass.IDENTITY else None
    with raises(meaning, match=advice):
        client.send(b"x", "b@example.com", ATTEMPT_ID, **chosen)


def test_without_a_configuration_set_none_is_named(ses):
    send(configuration_set=None)
    ((_, request),) = ses.requests
    assert set(request) == {"Destination", "Content", "EmailTags"}


@pytest.mark.parametrize(
    ("response", "meaning"),
    [
        (answer(500, {"__type": "InternalFailure"}), ErrorClass.AMBIGUOUS),
        (answer(502, b"<html>Bad Gateway</html>"), ErrorClass.AMBIGUOUS),
        (answer(504, b""), ErrorClass.AMBIGUOUS),
        (answer(503, {"__type": "ServiceUnavailable"}), ErrorClass.TRANSIENT),
        (
            answer(429, {"__type": "TooManyRequestsException", "message": "Maximum sending rate exceeded."}),
            ErrorClass.THROTTLED,
        ),
        (
            answer(400, {"__type": "LimitExceededException", "message": "Daily message quota exceeded."}),
            ErrorClass.QUOTA,
        ),
        (answer(400, {"__type": "BadRequestException", "message": "Illegal address"}), ErrorClass.MESSAGE),
        (answer(200, b"<html>Welcome to the hotel</html>"), ErrorClass.AMBIGUOUS),
        (answer(200, {}), ErrorClass.AMBIGUOUS),
        (hang_up, ErrorClass.AMBIGUOUS),
    ],
)
def test_whatever_ses_answers_it_is_asked_once(ses, response, meaning):
    ses.answer = response
    with raises(meaning):
        send()
    assert len(ses.requests) == 1


def test_an_answer_that_does_not_come_is_asked_for_once_and_is_ambiguous(ses):
    ses.answer = ses.never_answer
    with raises(ErrorClass.AMBIGUOUS, match="ReadTimeoutError"):
        send(read_timeout=0.2)
    assert len(ses.requests) == 1


def test_a_refused_connection_means_not_accepted(aws):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        aws.setenv("AWS_ENDPOINT_URL_SESV2", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with raises(ErrorClass.TRANSIENT):
            send()


def test_credentials_that_are_missing_are_looked_for_again_the_next_time(ses, aws):
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    client = SesClient("sesgate", threads=2, read_timeout=5)
    with raises(ErrorClass.ACCOUNT, match="NoCredentialsError"):
        send(client=client)
    aws.setenv("AWS_ACCESS_KEY_ID", "test")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert send(client=client) == "ses-1"


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_ENDPOINT_URL_SESV2": "not a url"},
        {"AWS_PROFILE": "missing"},
        {"AWS_CONFIG_FILE": "{broken}"},
    ],
)
def test_a_configuration_that_makes_no_client_has_sent_nothing(aws, tmp_path, environ):
    broken = tmp_path / "config"
    broken.write_text("this is [no configuration\n")
    for name, value in environ.items():
        aws.setenv(name, value.replace("{broken}", str(broken)))
    with raises(ErrorClass.ACCOUNT):
        send()


EXPIRED = answer(403, {"__type": "ExpiredTokenException", "message": "The security token is expired"})


def test_expired_credentials_are_read_anew_and_the_call_is_made_once_more(ses, aws, tmp_path):
    shared = tmp_path / "credentials"
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    aws.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    shared.write_text("[default]\naws_access_key_id = old\naws_secret_access_key = x\naws_session_token = x\n")
    signed_with = []

    def only_with_new_ones(request):
        signed_with.append("old" if "Credential=old/" in request.headers["Authorization"] else "new")
        (EXPIRED if signed_with[-1] == "old" else ACCEPTED)(request)

    ses.answer = only_with_new_ones
    client = SesClient("sesgate", threads=2, read_timeout=5)
    client.warm_up()
    shared.write_text("[default]\naws_access_key_id = new\naws_secret_access_key = x\naws_session_token = x\n")
    assert send(client=client) == "ses-1"
    assert send(client=client) == "ses-1"
    assert signed_with == ["old", "new", "new"]


def test_credentials_that_stay_expired_are_tried_twice_and_are_trouble_of_the_account(ses):
    ses.answer = EXPIRED
    with raises(ErrorClass.ACCOUNT, match="ExpiredTokenException"):
        send()
    assert len(ses.requests) == 2


def test_the_second_call_after_expired_credentials_may_fail_in_its_own_way(ses):
    answers = iter((EXPIRED, hang_up))

    def one_after_the_other(request):
        next(answers)(request)

    ses.answer = one_after_the_other
    with raises(ErrorClass.AMBIGUOUS):
        send()
    assert len(ses.requests) == 2


def test_many_threads_whose_credentials_have_expired_make_one_new_client(ses, aws):
    together = threading.Barrier(4)

    def expired_for_the_first_four(request):
        if len(ses.requests) <= 4:
            together.wait(20)
            EXPIRED(request)
        else:
            ACCEPTED(request)

    ses.answer = expired_for_the_first_four
    made = []
    session = boto3.session.Session
    aws.setattr(boto3.session, "Session", lambda: made.append(session()) or made[-1])
    client = SesClient("sesgate", threads=4, read_timeout=20)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: send(client=client), range(4))) == ["ses-1"] * 4
    assert len(made) == 2


@pytest.fixture
def closing_sts(aws, tmp_path):
    """Credentials of a role, and an STS that closes every connection without a word."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\nrole_arn = arn:aws:iam::1:role/sender\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = x\naws_secret_access_key = x\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def close_one():
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.close()

        thread = threading.Thread(target=close_one)
        thread.start()
        aws.delenv("AWS_ACCESS_KEY_ID")
        aws.delenv("AWS_SECRET_ACCESS_KEY")
        aws.setenv("AWS_CONFIG_FILE", str(config))
        aws.setenv("AWS_MAX_ATTEMPTS", "1")
        aws.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield
        thread.join(timeout=20)


@pytest.mark.usefixtures("closing_sts")
def test_a_role_whose_credentials_cannot_be_fetched_has_sent_nothing(ses):
    with raises(ErrorClass.ACCOUNT, match="ConnectionClosedError"):
        send()
    assert ses.requests == []


class TlsServer:
    """Takes one connection over TLS, reads what it gets, and answers with octets that are no TLS record."""

    def __init__(self, authority):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.received = b""
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._thread.join(timeout=20)

    def _serve(self):
        with suppress(OSError):
            plain, _ = self._listener.accept()
            plain.settimeout(20)
            with self._context.wrap_socket(plain, server_side=True) as connection:
                while b"}" not in self.received:
                    self.received += connection.recv(65536)
                os.write(connection.fileno(), b"this is no record of TLS")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_failure_of_tls_is_ambiguous_unless_it_was_in_the_handshake(trusted, tmp_path, monkeypatch):
    authority = trustme.CA()
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(tmp_path / "ca.pem")
    with TlsServer(authority) as server:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{server.port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = SesClient(None, threads=1, read_timeout=10)
        with raises(ErrorClass.AMBIGUOUS if trusted else ErrorClass.TRANSIENT, match="SSL"):
            client.send(b"From: a@b.example\r\n\r\n", "you@example.com", "0" * 32)
    assert bool(server.received) is trusted
