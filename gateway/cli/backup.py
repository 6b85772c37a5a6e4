"""`sesgate backup`: a consistent copy of the database while everything runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.errors import UsageError
from gateway.cli.help import example
from gateway.cli.output import show_json, spoken_time
from gateway.store.backup import Backup, back_up, sqlite_file


@click.command(epilog=example("sesgate backup /backup/sesgate-2026-11-21.db"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, as_json: bool) -> None:
    """Copy the SQLite database to FILE, which must not exist, while every program goes on.

    The copy holds accepted mail, so only this user can read it. Sending is paused inside it: a restored database shows
    what is due and waits for `sesgate queue resume`.
    """
    settings = load_settings()
    source = sqlite_file(settings.database)
    if source is None:
        raise UsageError(
            "The database is PostgreSQL: make the backup with pg_dump -Fc; after pg_restore run `sesgate restored`"
            " before any program is started, so that nothing is sent twice."
        )
    with opened_stores(settings):  # refuses a schema of another release
        pass
    made = _made(source, file)
    if as_json:
        show_json({"file": str(made.file), "made_at": made.made_at, "size": made.size})
    else:
        click.echo(f"{made.file} holds the database of {spoken_time(made.made_at)} ({made.size} bytes), paused.")


def _made(source: Path, file: Path) -> Backup:
    with _progress_bar() as bar:
        task = bar.add_task("Copying")
        return back_up(
            source,
            file,
            actor=actor(),
            progress=lambda left, total: bar.update(task, completed=total - left, total=total),
        )


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        yield bar
