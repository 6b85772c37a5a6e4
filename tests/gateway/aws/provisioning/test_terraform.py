from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.terraform import terraform

OPTIONS = {
    "webhook": Options(webhook_url="https://mail.example.com/sns"),
    "queue": Options(queue=True, environment="test"),
    "both with a password": Options(webhook_url="https://user:s3cret@mail.example.com/sns", queue=True),
    "tracked": Options(queue=True, tracks_opens_and_clicks=True),
    "classic": Options(
        webhook_url="https://mail.example.com/sns",
        queue=True,
        classic=True,
        identities=("example.com", "a@example.com"),
    ),
    "digits": Options(queue=True, classic=True, identities=("1und1.example", "1-und1.example", "1.und1.example")),
    "templates": Options(webhook_url="https://mail.example.com/sns?a=${file('/etc/passwd')}&b=%{if}"),
}


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed, and Debian has no package")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_terraform_finds_nothing_to_format(options, tmp_path):
    (tmp_path / "main.tf").write_text(terraform(options))
    checked = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-no-color", "main.tf"],
        cwd=tmp_path,
        env={**os.environ, "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr


def test_it_holds_everything_that_is_made_otherwise():
    text = terraform(OPTIONS["both with a password"])
    for label in (
        'resource "aws_sns_topic" "feedback"',
        'resource "aws_sqs_queue" "dead"',
        'resource "aws_sqs_queue" "feedback"',
        'resource "aws_sesv2_configuration_set" "feedback"',
        'resource "aws_sesv2_configuration_set_event_destination" "feedback"',
        'resource "aws_sns_topic_subscription" "feedback_webhook"',
        'resource "aws_sns_topic_subscription" "feedback_queue"',
        'output "SESGATE_FEEDBACK_QUEUE_URL"',
        "signature_version = 2",
    ):
        assert label in text
    assert "sesgate:provisioned" not in text


def test_a_password_becomes_a_variable():
    text = terraform(OPTIONS["both with a password"])
    assert "s3cret" not in text
    assert 'variable "webhook_url"' in text
    assert "= var.webhook_url" in text
    assert "variable" not in terraform(OPTIONS["webhook"])


def test_what_looks_like_a_template_is_none():
    text = terraform(OPTIONS["templates"])
    assert "$${file(" in text
    assert "%%{if}" in text


def test_the_topic_that_must_be_trusted_first_is_named():
    assert "# SESGATE_SNS_TOPIC_ARNS=arn:aws:sns:REGION:ACCOUNT:sesgate-test-feedback\n" in terraform(OPTIONS["queue"])


def test_identities_have_blocks_of_their_own():
    text = terraform(OPTIONS["classic"])
    assert text.count('resource "aws_ses_identity_notification_topic"') == 6
    assert 'resource "aws_sesv2_email_identity_feedback_attributes" "a_at_example_com"' in text
    assert "aws_sesv2_configuration_set" not in text


def test_each_identity_has_a_label_of_its_own_that_is_an_identifier():
    labels = re.findall(r'"aws_sesv2_email_identity_feedback_attributes" "([^"]*)"', terraform(OPTIONS["digits"]))
    assert labels == ["_1und1_example", "_1-und1_example", "_1_und1_example"]
