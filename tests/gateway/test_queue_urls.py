from __future__ import annotations

import pytest

from gateway.queue_urls import QueueUrlError, check_queue, endpoint_of
from gateway.setting_values import parse_queue_url
from gateway.settings import SettingsError, read_settings

REAL = "https://sqs.eu-west-1.amazonaws.com/123456789012/sesgate-feedback"
SIMULATED = "http://127.0.0.1:4566/000000000000/sesgate-feedback"
PRIVATE = "https://vpce-0a1b-c2d3.sqs.eu-west-1.vpce.amazonaws.com/123456789012/sesgate-feedback"


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (REAL, "eu-west-1"),
        (PRIVATE, "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://sqs-fips.us-gov-east-1.amazonaws.com/1/q", "us-gov-east-1"),
        ("https://sqs.eu-west-1.api.aws/1/q", "eu-west-1"),
        ("https://eu-west-1.queue.amazonaws.com/1/q", "eu-west-1"),
        ("https://queue.amazonaws.com/1/q", "us-east-1"),
        ("https://sqs.eusc-de-east-1.amazonaws.eu/1/q", "eusc-de-east-1"),
        (SIMULATED, None),
        ("https://sqs.eu-west-1.amazonaws.com.evil.example/1/q", None),
        ("https://elasticmq.internal:9324/000000000000/q", None),
    ],
)
def test_a_queue_at_aws_says_its_region(url, region):
    queue = parse_queue_url(url)
    assert (queue.region, queue.is_at_aws, str(queue)) == (region, region is not None, url)


@pytest.mark.parametrize(
    "url",
    [
        "sesgate-feedback",
        "arn:aws:sqs:eu-west-1:123456789012:sesgate-feedback",
        "ftp://sqs.eu-west-1.amazonaws.com/1/q",
        "https:///1/q",
        "https://sqs.eu-west-1.amazonaws.com",
        "https://sqs.eu-west-1.amazonaws.com/1/",
        "https://sqs.eu-west-1.amazonaws.com/1/a b",
        "https://user:password@sqs.eu-west-1.amazonaws.com/1/q",
        "https://sqs.eu-west-1.amazonaws.com/1/q?x=1",
        "https://sqs.eu-west-1.amazonaws.com/1/q#x",
        "https://sqs.eu-west-1.amazonaws.com:x/1/q",
        "https://[sqs/1/q",
        "https://sqs.eu-west-1.amazonaws.com/1\n/q",
        f"https://sqs.eu-west-1.amazonaws.com/1/{'q' * 81}",
    ],
)
def test_what_is_no_url_of_a_queue_is_refused_with_one_sentence(url):
    with pytest.raises(SettingsError, match=r"^SESGATE_FEEDBACK_QUEUE_URL: .* is no URL of an SQS queue; .*\.$"):
        read_settings({"SESGATE_FEEDBACK_QUEUE_URL": url})


def test_a_fifo_queue_is_refused_with_the_reason():
    with pytest.raises(SettingsError, match="is a FIFO queue, which one message that is refused would block"):
        read_settings({"SESGATE_FEEDBACK_QUEUE_URL": f"{REAL}.fifo"})


def test_there_is_none_unless_it_is_set():
    assert read_settings({}).feedback_queue_url is None
    assert str(read_settings({"SESGATE_FEEDBACK_QUEUE_URL": f" {REAL} "}).feedback_queue_url) == REAL


def test_a_queue_of_a_real_account_is_not_read_into_a_simulation():
    with pytest.raises(QueueUrlError, match="real AWS account"):
        check_queue(parse_queue_url(REAL), "sandbox")
    check_queue(parse_queue_url(REAL), "aws")
    check_queue(parse_queue_url(SIMULATED), "sandbox")


@pytest.mark.parametrize(
    ("url", "environ", "endpoint"),
    [
        (REAL, {}, None),
        (PRIVATE, {}, "https://vpce-0a1b-c2d3.sqs.eu-west-1.vpce.amazonaws.com"),
        (SIMULATED, {}, "http://127.0.0.1:4566"),
        (SIMULATED, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, None),
        (PRIVATE, {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:1"}, None),
    ],
)
def test_an_endpoint_in_the_environment_stands_above_the_url(url, environ, endpoint):
    assert endpoint_of(parse_queue_url(url), environ) == endpoint
