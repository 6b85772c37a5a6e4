from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
from contextlib import suppress

import botocore.exceptions as boto
import pytest
import trustme

from tasks.ses import (
    AccountError,
    AmbiguousError,
    IdentityError,
    NotAcceptedError,
    QuotaExhaustedError,
    RefusedError,
    SesClient,
    ThrottledError,
    classify,
)
from tests.support.ses import HttpSes, answer, hang_up

ATTEMPT_ID = "0123456789abcdef0123456789abcdef"
NOT_VERIFIED = (
    "Email address is not verified. The following identities failed the check in region EU-WEST-1: a@example.org"
)


def client_error(code, status, text=""):
    return boto.ClientError(
        {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}, "SendEmail"
    )


# ses-facts 2.1 and 2.2: code, HTTP status, text, what it means.
ANSWERS = [
    ("TooManyRequestsException", 429, "Maximum sending rate exceeded.", ThrottledError),
    ("TooManyRequestsException", 429, None, ThrottledError),
    ("UnknownError", 429, "", ThrottledError),
    ("LimitExceededException", 400, "Daily message quota exceeded.", QuotaExhaustedError),
    ("Throttling", 400, "Maximum sending rate exceeded.", ThrottledError),
    ("Throttling", 400, "Daily message quota exceeded.", QuotaExhaustedError),
    ("ThrottlingException", 400, "Maximum SigV2 SMTP sending rate exceeded", ThrottledError),
    ("ThrottlingException", 400, "Daily message quota exceeded", QuotaExhaustedError),
    ("MessageRejected", 400, NOT_VERIFIED, IdentityError),
    ("MessageRejected", 400, "Email address not verified", IdentityError),
    ("MessageRejected", 400, "Address Blacklisted", RefusedError),
    ("BadRequestException", 400, "Missing final '@domain'", RefusedError),
    ("BadRequestException", 400, "Local address contains control or whitespace", RefusedError),
    ("BadRequestException", 400, "Duplicate header 'From'.", RefusedError),
    ("BadRequestException", 400, None, RefusedError),
    ("InvalidParameterValue", 400, "Illegal address", RefusedError),
    ("ValidationError", 400, "Missing required header 'From'.", RefusedError),
    ("NotFoundException", 404, "Configuration set <x> does not exist.", AccountError),
    ("ConfigurationSetDoesNotExist", 400, "", AccountError),
    ("MailFromDomainNotVerifiedException", 400, "", IdentityError),
    ("SendingPausedException", 400, "Email sending is paused", AccountError),
    ("AccountSendingPausedException", 400, "", AccountError),
    ("ConfigurationSetSendingPausedException", 400, "", AccountError),
    ("AccountSuspendedException", 400, "", AccountError),
    ("AccessDeniedException", 403, "User x is not authorized to perform: ses:SendEmail", AccountError),
    ("AccessDenied", 403, "", AccountError),
    (
        "AccessDeniedException",
        403,
        "not authorized to perform ses:SendEmail on resource arn:aws:ses:eu-west-1:1:identity/example.org",
        IdentityError,
    ),
    *(
        (code, 403, "", AccountError)
        for code in (
            "ExpiredTokenException",
            "ExpiredToken",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "IncompleteSignature",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "OptInRequired",
            "NotAuthorized",
            "RequestExpired",
            "RequestTimeTooSkewed",
        )
    ),
    ("ServiceUnavailable", 503, "", NotAcceptedError),
    ("503", 503, "Service Unavailable", NotAcceptedError),
    ("RequestTimeout", 408, "", NotAcceptedError),
    ("RequestTimeoutException", 400, "", NotAcceptedError),
    ("RequestEntityTooLarge", 413, "", RefusedError),
    ("413", 413, "", RefusedError),
    ("InternalFailure", 500, "", AmbiguousError),
    ("InternalServiceErrorException", 500, "", AmbiguousError),
    ("500", 500, "", AmbiguousError),
    ("502", 502, "Bad Gateway", AmbiguousError),
    ("504", 504, "Gateway Timeout", AmbiguousError),
    ("SomethingNew", 500, "", AmbiguousError),
    ("SomethingNew", 400, "", NotAcceptedError),
    ("SomethingNew", 418, "", NotAcceptedError),
]


@pytest.mark.parametrize(("code", "status", "text", "meaning"), ANSWERS)
def test_what_an_answer_of_ses_means(code, status, text, meaning):
    classified = classify(client_error(code, status, text))
    assert type(classified) is meaning
    assert code in str(classified)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (boto.EndpointConnectionError(endpoint_url="https://x", error="refused"), NotAcceptedError),
        (boto.ConnectTimeoutError(endpoint_url="https://x"), NotAcceptedError),
        (boto.ProxyConnectionError(proxy_url="http://proxy"), NotAcceptedError),
        (boto.SSLError(endpoint_url="https://x", error="somewhere in the answer"), AmbiguousError),
        (boto.NoCredentialsError(), AccountError),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), AccountError),
        (boto.CredentialRetrievalError(provider="process", error_msg="no"), AccountError),
        (boto.UnauthorizedSSOTokenError(), AccountError),
        (boto.NoRegionError(), AccountError),
        (boto.ProfileNotFound(profile="x"), AccountError),
        (boto.InvalidRegionError(region_name="-"), AccountError),
        (boto.ParamValidationError(report="no"), RefusedError),
        (boto.ReadTimeoutError(endpoint_url="https://x"), AmbiguousError),
        (boto.ConnectionClosedError(endpoint_url="https://x"), AmbiguousError),
        (boto.HTTPClientError(error="reset"), AmbiguousError),
        (boto.ResponseStreamingError(error="cut"), AmbiguousError),
        (boto.BotoCoreError(), AmbiguousError),
        (OSError("whatever"), AmbiguousError),
    ],
)
def test_what_an_exception_on_this_side_means(error, meaning):
    classified = classify(error)
    assert type(classified) is meaning
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


def test_without_a_configuration_set_none_is_named(ses):
    send(configuration_set=None)
    ((_, request),) = ses.requests
    assert set(request) == {"Destination", "Content", "EmailTags"}


@pytest.mark.parametrize(
    ("response", "meaning"),
    [
        (answer(500, {"__type": "InternalFailure"}), AmbiguousError),
        (answer(502, b"<html>Bad Gateway</html>"), AmbiguousError),
        (answer(504, b""), AmbiguousError),
        (answer(503, {"__type": "ServiceUnavailable"}), NotAcceptedError),
        (
            answer(429, {"__type": "TooManyRequestsException", "message": "Maximum sending rate exceeded."}),
            ThrottledError,
        ),
        (
            answer(400, {"__type": "LimitExceededException", "message": "Daily message quota exceeded."}),
            QuotaExhaustedError,
        ),
        (answer(400, {"__type": "BadRequestException", "message": "Illegal address"}), RefusedError),
        (answer(200, b"<html>Welcome to the hotel</html>"), AmbiguousError),
        (answer(200, {}), AmbiguousError),
        (hang_up, AmbiguousError),
    ],
)
def test_whatever_ses_answers_it_is_asked_once(ses, response, meaning):
    ses.answer = response
    with pytest.raises(meaning) as raised:
        send()
    assert type(raised.value) is meaning
    assert len(ses.requests) == 1


def test_an_answer_that_does_not_come_is_asked_for_once_and_is_ambiguous(ses):
    ses.answer = ses.never_answer
    with pytest.raises(AmbiguousError, match="ReadTimeoutError"):
        send(read_timeout=0.2)
    assert len(ses.requests) == 1


def test_a_refused_connection_means_not_accepted(aws):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        aws.setenv("AWS_ENDPOINT_URL_SESV2", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(NotAcceptedError) as raised:
            send()
    assert type(raised.value) is NotAcceptedError


def test_credentials_that_are_missing_are_looked_for_again_the_next_time(ses, aws):
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    client = SesClient("sesgate", threads=2, read_timeout=5)
    with pytest.raises(AccountError, match="NoCredentialsError"):
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
    with pytest.raises(AccountError):
        send()


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
        with pytest.raises(AmbiguousError if trusted else NotAcceptedError, match="SSL"):
            client.send(b"From: a@b.example\r\n\r\n", "you@example.com", "0" * 32)
    assert bool(server.received) is trusted
