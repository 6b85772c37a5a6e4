"""`sesgate feedback-queue`: becomes the SQS consumer, or the walk through a dead-letter queue; neither is imported."""

from __future__ import annotations

import os

import click

from gateway.cli.context import load_settings
from gateway.cli.errors import UsageError
from gateway.cli.help import example
from gateway.cli.programs import queue_argv, redrive_argv
from gateway.setting_values import QueueUrl, parse_queue_url


@click.group(invoke_without_command=True, epilog=example("sesgate feedback-queue"))
@click.pass_context
def command(context: click.Context) -> None:
    """Read what SES reports from the SQS queue in SESGATE_FEEDBACK_QUEUE_URL: no public endpoint is needed.

    The queue is subscribed to the SNS topic (raw message delivery off). It works beside the webhook too.
    """
    if context.invoked_subcommand is not None:
        return
    if load_settings().feedback_queue_url is None:
        raise UsageError("SESGATE_FEEDBACK_QUEUE_URL is not set; set it to the URL of the queue to read.")
    _become(queue_argv())


@command.command(
    epilog=example(
        "sesgate feedback-queue redrive https://sqs.eu-west-1.amazonaws.com/123456789012/sesgate-feedback-dead"
    )
)
@click.argument("queue_url")
def redrive(queue_url: str) -> None:
    """Take in what a dead-letter queue holds, whatever its age: the one of the queue, or of the webhook's subscription.

    What was stored or was known already is deleted from it. What is refused is left, and the reason is told.
    """
    url = _queue_argument(queue_url)
    load_settings()
    _become(redrive_argv(url))


def _queue_argument(text: str) -> QueueUrl:
    try:
        return parse_queue_url(text)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _become(argv: tuple[str, ...]) -> None:
    os.execvp(argv[0], argv)  # noqa: S606  no shell is wanted
