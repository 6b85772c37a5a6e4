"""`sesgate webhook`: becomes gunicorn with the webhook, which is started and not imported."""

from __future__ import annotations

import os

import click

from gateway.cli.context import load_settings
from gateway.cli.help import example
from gateway.cli.programs import webhook_argv


@click.command(epilog=example("SESGATE_WEBHOOK_LISTEN=0.0.0.0:8024 sesgate webhook"))
def command() -> None:
    """Run the webhook that takes what SES reports through SNS (POST /sns), on SESGATE_WEBHOOK_LISTEN."""
    argv = webhook_argv(load_settings())
    os.execvp(argv[0], argv)  # noqa: S606  no shell is wanted
