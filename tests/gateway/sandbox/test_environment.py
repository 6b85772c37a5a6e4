"""The environment that keeps a program inside the sandbox."""

from __future__ import annotations

import subprocess

import pytest

from gateway.sandbox import names
from gateway.sandbox.environment import child_environment, render_exports
from tests.support.sandbox import Sandbox

ENDPOINT = "http://127.0.0.1:4566"


def test_it_points_boto3_and_the_gateway_at_the_sandbox():
    environment = child_environment(ENDPOINT, inherited={})

    assert environment["AWS_ENDPOINT_URL"] == ENDPOINT
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environment["AWS_CONFIG_FILE"] == environment["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert environment["SESGATE_SES_CONFIGURATION_SET"] == "sesgate"
    assert environment["SESGATE_SNS_TOPIC_ARNS"] == names.TOPIC_ARN
    assert environment["AWS_ACCESS_KEY_ID"]
    assert environment["AWS_SECRET_ACCESS_KEY"]


def test_everything_that_could_lead_to_real_aws_is_unset():
    inherited = {
        "AWS_PROFILE": "production",
        "AWS_ENDPOINT_URL_SESV2": "https://real",
        "AWS_ENDPOINT_URL_S3": "x",
        "A": "b",
    }
    environment = child_environment(ENDPOINT, inherited=inherited)

    for name in (
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL_SESV2",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_SNS",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ):
        assert environment[name] is None, name
    assert "A" not in environment


def test_a_shell_takes_the_exports():
    script = render_exports({"A": "it's; $HOME", "B": None}) + 'printf "%s|%s" "$A" "${B-unset}"'
    shell = subprocess.run(["sh", "-c", script], env={"B": "x"}, capture_output=True, text=True, check=True)
    assert shell.stdout == "it's; $HOME|unset"


def test_a_child_of_a_test_inherits_all_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("KEPT", "yes")
    environment = Sandbox(port=1).environment(SESGATE_LOG_FORMAT="json")

    assert "AWS_PROFILE" not in environment
    assert environment["KEPT"] == "yes"
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["SESGATE_LOG_FORMAT"] == "json"
