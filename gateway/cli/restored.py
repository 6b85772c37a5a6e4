"""`sesgate restored`: stops sending on a database that came from a backup, before any program runs on it."""

from __future__ import annotations

import click

from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.help import example
from gateway.cli.moments import moment
from gateway.cli.output import show_json, spoken_time
from gateway.cli.queue import risk, show_waiting
from gateway.store.queue import Queue


@click.command(epilog=example("sesgate restored", "sesgate restored --made-at 2026-11-21T03:00:00Z"))
@click.option(
    "--made-at",
    metavar="TIME",
    help="When the backup was made (ISO 8601, UTC without a zone). Else: the last thing that happened in the database.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(made_at: str | None, as_json: bool) -> None:
    """Pause sending on a database that came from a backup, and show what had not ended when it was made.

    Run it after pg_restore (or after copying a database file) and before any program is started: part of what waits in
    the backup was sent after it was made. A copy made by `sesgate backup` is paused already. `sesgate queue resume`
    lifts the pause.
    """
    backup_at = None if made_at is None else moment(made_at)
    with opened_stores(load_settings()) as stores:
        queue = Queue(stores.db)
        pause = queue.pause_restored(backup_at, actor=actor())
        made = pause.backup_at or pause.since
        waiting = queue.waiting_since_backup(made)
    if as_json:
        show_json({"pause": pause, "waiting": waiting})
        return
    show_waiting(waiting)
    click.echo(risk(waiting, made), err=True)
    click.echo(f"Sending is paused since {spoken_time(pause.since)}; `sesgate queue resume` lets it go on.", err=True)
