"""`sesgate migrate`: creates or upgrades the schema."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import Literal

import click
from rich.console import Console

from gateway.cli.context import load_settings
from gateway.cli.data_directory import prepare
from gateway.cli.help import example
from gateway.cli.output import show_json
from gateway.store.schema import migrate, stamp_of_environment


@click.command(epilog=example("sesgate migrate"))
@click.option(
    "--stamp",
    type=click.Choice(["aws", "sandbox"]),
    help="What a new database is for, if not what AWS_ENDPOINT_URL says: mail accepted for the simulation is never"
    " sent for real.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(stamp: Literal["aws", "sandbox"] | None, as_json: bool) -> None:
    """Create or upgrade the database schema."""
    settings = load_settings()
    if not settings.database_url:
        prepare(settings.data_dir)
    waiting = Console(stderr=True).status("Migrating the database") if sys.stderr.isatty() else nullcontext()
    with waiting:
        applied = migrate(settings.database, stamp or stamp_of_environment(os.environ))
    if as_json:
        show_json({"applied": applied})
    elif applied:
        for name in applied:
            click.echo(f"Applied {name}.")
    else:
        click.echo("The schema is up to date.")
