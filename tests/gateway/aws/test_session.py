from __future__ import annotations

import http.server
import socketserver
import threading

import pytest
from botocore.stub import Stubber

from gateway.aws.call_errors import AwsCallError
from gateway.aws.session import Aws, clients, iam_action
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """No AWS configuration at all but what a test sets."""
    for name in (
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def aws(sandbox, environment):
    for name, value in sandbox.environment().items():
        environment.setenv(name, value)
    sandbox.set_faults()
    return Aws(sleep=lambda _seconds: None)


def answered(code, message="", status=400):
    """What a person reads when SNS answers CreateTopic with this error."""
    aws = Aws("eu-west-1", sleep=lambda _seconds: None)
    with Stubber(aws.client("sns")) as stub:
        for _ in range(6):
            stub.add_client_error("create_topic", code, message, http_status_code=status)
        with pytest.raises(AwsCallError) as raised:
            aws.call("sns", "CreateTopic", Name="x")
    return raised.value


@pytest.fixture
def credentials(environment):
    environment.setenv("AWS_ACCESS_KEY_ID", "key")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return environment


def test_a_call_is_named_as_in_the_reference_of_aws(aws):
    assert aws.call("sns", "CreateTopic", Name="a-topic")["TopicArn"] == "arn:aws:sns:us-east-1:000000000000:a-topic"
    assert (aws.region, aws.partition) == ("us-east-1", "aws")


def test_a_list_is_read_to_its_last_page(aws):
    for number in range(105):
        aws.call("sns", "CreateTopic", Name=f"many-{number}")
    arns = [topic["TopicArn"] for topic in aws.every("sns", "ListTopics", "Topics")]
    assert len([arn for arn in arns if ":many-" in arn]) == 105


def test_being_throttled_is_waited_out(aws, sandbox):
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            sandbox.set_faults()

    sandbox.set_faults(throttle=1.0, error_operations=["GetConfigurationSet"])
    with pytest.raises(AwsCallError, match="does not exist"):
        Aws(sleep=pause).call("sesv2", "GetConfigurationSet", ConfigurationSetName="none")
    assert len(pauses) == 2


def test_being_throttled_for_good_is_said(credentials):
    error = answered("Throttling", "Rate exceeded")
    assert "sns:CreateTopic" in str(error)
    assert "again in a while" in str(error)


@pytest.mark.parametrize("code", ["AccessDenied", "AuthorizationError", "AccessDeniedException"])
def test_a_denied_call_names_the_action_that_is_missing(credentials, code):
    error = answered(code, "User: arn:aws:iam::1:user/x is not authorized to perform: SNS:Subscribe on resource: y")
    assert error.is_denied
    assert "AWS denied SNS:Subscribe" in str(error)
    assert answered(code, "no").action == "sns:CreateTopic"
    assert "AWS denied sns:CreateTopic" in str(answered(code, "no"))


@pytest.mark.parametrize(
    ("code", "message", "sentence"),
    [
        ("ExpiredToken", "The security token included in the request is expired", "have expired"),
        ("InvalidClientTokenId", "The security token included in the request is invalid", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than", "clock is wrong"),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match", "AWS_SECRET_ACCESS_KEY"),
        ("OptInRequired", "You are not subscribed to this service", "not signed up for sns in eu-west-1"),
        ("AWS.SimpleQueueService.QueueDeletedRecently", "You must wait 60 seconds", "less than a minute ago"),
        ("InvalidParameter", "Invalid parameter: Topic Name", "AWS refused sns:CreateTopic (InvalidParameter): Inv"),
    ],
)
def test_what_aws_refuses_is_a_sentence_with_the_fix(credentials, code, message, sentence):
    assert sentence in str(answered(code, message))


def test_what_is_missing_and_what_an_emulator_does_not_know_are_told_apart(credentials):
    assert answered("NotFound", "Topic does not exist").is_missing
    assert answered("InvalidAction", "The action is not valid").is_unknown_call
    assert answered("InternalFailure", "API not implemented", 501).is_unknown_call
    assert "does not know sns:CreateTopic" in str(answered("InternalFailure", "API not implemented", 501))
    assert not answered("InternalFailure", "It failed", 500).is_unknown_call


def test_a_page_for_a_browser_is_no_part_of_a_sentence(credentials):
    assert str(answered("405", "<!doctype html>\n<title>405</title>")).endswith("It said: 405.")


def test_an_answer_that_is_not_of_aws_is_a_sentence(credentials):
    with socketserver.TCPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        credentials.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(AwsCallError, match=r"not AWS.*AWS_ENDPOINT_URL") as raised:
            clients("eu-west-1").call("sns", "ListTopics")
    assert raised.value.is_unknown_call


class _Page(http.server.BaseHTTPRequestHandler):
    """A proxy that answers everything with a page."""

    def do_POST(self):
        self.send_response(500)
        self.end_headers()
        self.wfile.write(b"<!doctype html>\n<title>Sorry</title>")

    def log_message(self, *_arguments):
        pass


def test_without_credentials_the_sentence_says_how_to_give_them(environment):
    with pytest.raises(AwsCallError, match="AWS_ACCESS_KEY_ID"):
        clients("eu-west-1").call("sns", "ListTopics")


def test_without_a_region_the_sentence_names_the_variable(credentials):
    with pytest.raises(AwsCallError, match="AWS_REGION"):
        clients().call("sns", "ListTopics")


def test_a_profile_that_is_not_there_is_named(environment):
    environment.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AwsCallError, match=r"nobody.*AWS_PROFILE"):
        clients("eu-west-1").call("sns", "ListTopics")


def test_an_endpoint_that_does_not_answer_is_named(credentials):
    credentials.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(AwsCallError, match=r"http://127\.0\.0\.1:1.*AWS_ENDPOINT_URL"):
        clients("eu-west-1").call("sns", "ListTopics")


def test_an_endpoint_that_is_no_url_is_refused_with_a_sentence(credentials):
    credentials.setenv("AWS_ENDPOINT_URL", "no url")
    with pytest.raises(AwsCallError, match="no url"):
        clients("eu-west-1").call("sns", "ListTopics")


def test_the_partition_follows_from_the_region(credentials):
    assert clients("cn-north-1").partition == "aws-cn"
    assert clients("us-gov-west-1").partition == "aws-us-gov"


def test_ses_has_one_iam_prefix_for_both_versions():
    assert iam_action("sesv2", "CreateConfigurationSet") == "ses:CreateConfigurationSet"
    assert iam_action("sqs", "CreateQueue") == "sqs:CreateQueue"
