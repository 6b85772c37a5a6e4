from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from gateway.cli.errors import UsageError
from gateway.cli.main import cli
from gateway.cli.up.preflight import check_feedback_queue
from gateway.settings import read_settings

REAL = "https://sqs.eu-west-1.amazonaws.com/123456789012/sesgate-feedback"


@pytest.fixture
def become(monkeypatch, tmp_path):
    """What the process would have become; it runs in an empty directory without settings."""
    became = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execvp", lambda _, argv: became.append(argv[1:]))
    for name in [name for name in os.environ if name.startswith("SESGATE_")]:
        monkeypatch.delenv(name)
    return became


def run(*arguments, **environ):
    return CliRunner().invoke(cli, ["feedback-queue", *arguments], env=environ)


def test_it_becomes_the_consumer(become):
    assert run(SESGATE_FEEDBACK_QUEUE_URL=REAL).exit_code == 0
    assert become == [("-m", "webhook.queue")]


def test_without_a_queue_it_says_which_setting_is_missing(become):
    result = run()
    assert (result.exit_code, become) == (2, [])
    assert result.output == "Error: SESGATE_FEEDBACK_QUEUE_URL is not set; set it to the URL of the queue to read.\n"


def test_a_fifo_queue_is_refused(become):
    result = run(SESGATE_FEEDBACK_QUEUE_URL=f"{REAL}.fifo")
    assert (result.exit_code, become) == (2, [])
    assert "FIFO" in result.output


def test_redriving_needs_no_setting_but_the_queue(become):
    assert run("redrive", f"{REAL}-dead").exit_code == 0
    assert become == [("-m", "webhook.redrive", f"{REAL}-dead")]


@pytest.mark.parametrize("arguments", [("redrive",), ("redrive", "dead"), ("redrive", f"{REAL}.fifo"), ("nothing",)])
def test_bad_usage_is_told(become, arguments):
    result = run(*arguments)
    assert (result.exit_code, become) == (2, [])


@pytest.mark.parametrize("arguments", [("--help",), ("redrive", "--help")])
def test_help_has_an_example(arguments):
    result = run(*arguments)
    assert result.exit_code == 0
    assert "Example" in result.output


def test_up_refuses_a_queue_of_a_real_account_in_the_sandbox():
    settings = read_settings({"SESGATE_FEEDBACK_QUEUE_URL": REAL})
    with pytest.raises(UsageError, match="real AWS account"):
        check_feedback_queue(settings, "sandbox")
    check_feedback_queue(settings, "aws")
    check_feedback_queue(read_settings({}), "sandbox")
