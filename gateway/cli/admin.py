"""`sesgate admin`: becomes gunicorn with the operator's app."""

from __future__ import annotations

import os

import click

from gateway.cli.context import load_settings
from gateway.cli.help import example
from gateway.cli.programs import admin_argv


@click.command(epilog=example("sesgate admin"))
def command() -> None:
    """Run the operator's metrics endpoint (GET /metrics), on SESGATE_ADMIN_LISTEN."""
    argv = admin_argv(load_settings())
    os.execvp(argv[0], argv)  # noqa: S606  no shell is wanted
