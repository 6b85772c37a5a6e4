"""`sesgate queue`: what waits for sending, what stops it, and the pause."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import counted, show_json, show_pairs, show_table, spoken_time
from gateway.lifecycle import Status
from gateway.store.queue import Pause, Queue, QueueStatus, Waiting

_BY_HAND = "by hand"
# What goes out without anybody's doing once the pause is lifted; the others wait for evidence or for a person.
_SENT_ON_RESUME = frozenset({Status.QUEUED.value, Status.SENDING.value})


@click.group(epilog=example("sesgate queue status"))
def command() -> None:
    """See what waits for sending; pause and resume it."""


@command.command(epilog=example("sesgate queue status --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show what waits, what is due, and whether something stops the sending."""
    with opened_stores(load_settings()) as stores:
        found = Queue(stores.db).status()
    if as_json:
        show_json(found)
        return
    show_pairs(_pairs(found, datetime.now(UTC)))
    click.echo()
    show_table(("STATUS", "RECIPIENTS"), ((name, str(count)) for name, count in found.recipients.items()))


@command.command(epilog=example('sesgate queue pause --reason "new templates are being checked"'))
@click.option("--reason", default=_BY_HAND, show_default=True, help="What others read as the reason.")
def pause(reason: str) -> None:
    """Stop sending at once. Mail is still accepted, and reports of SES are still taken in."""
    with opened_stores(load_settings()) as stores:
        standing = Queue(stores.db).pause(reason, actor=actor())
    if standing:
        click.echo(f"Sending was paused already ({_spoken(standing)}); nothing was changed.")
    else:
        click.echo("Sending is paused: mail is accepted and waits. What is being handed to SES now still goes out.")


@command.command(epilog=example("sesgate queue resume"))
@click.option("--yes", is_flag=True, help="Do not ask, even if the database came from a backup.")
def resume(yes: bool) -> None:
    """Let sending go on. On a database that came from a backup it asks first."""
    with opened_stores(load_settings()) as stores:
        queue = Queue(stores.db)
        standing = queue.find_pause()
        if standing and standing.backup_at:
            _confirm_restored(queue.waiting_since_backup(standing.backup_at), standing.backup_at, yes=yes)
        lifted = queue.resume(actor=actor())
    click.echo(f"Sending goes on (it was paused: {lifted.reason})." if lifted else "Sending was not paused.")


def _confirm_restored(waiting: list[Waiting], backup_at: datetime, *, yes: bool) -> None:
    """CommandError when the answer is no, UsageError when nobody can be asked."""
    click.echo(risk(waiting, backup_at), err=True)
    if yes or not waiting:
        return
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here; add --yes to let sending go on.")
    if not click.confirm("Let sending go on?", err=True):
        raise CommandError("Sending stays paused.")


def risk(waiting: list[Waiting], backup_at: datetime) -> str:
    """What may be sent a second time from a restored database."""
    count = sum(one.recipients for one in waiting if one.status in _SENT_ON_RESUME)
    unknown = sum(one.recipients for one in waiting) - count
    made = f"This database was restored from a backup made at {spoken_time(backup_at)}."
    if not waiting:
        return f"{made} Nothing from before the backup waits for sending, so nothing is sent twice."
    others = f" {counted(unknown)} more waited for evidence or for a person then." if unknown else ""
    return (
        f"{made} When sending goes on, {counted(count)} from before it will be sent that may have been sent already,"
        f" after the backup was made.{others}"
    )


def show_waiting(waiting: list[Waiting]) -> None:
    show_table(
        ("STATUS", "RECIPIENTS", "OLDEST ACCEPTED", "NEWEST ACCEPTED", "LAST ACTIVITY"),
        (
            (
                one.status,
                str(one.recipients),
                spoken_time(one.oldest_accepted_at),
                spoken_time(one.newest_accepted_at),
                spoken_time(one.last_changed_at),
            )
            for one in waiting
        ),
    )


def _pairs(found: QueueStatus, now: datetime) -> list[tuple[str, str]]:
    return [
        ("sending", _stopped(found, now)),
        ("due now", _due(found, now)),
        ("next retry", _when(found.next_retry_at, now)),
        ("dispatcher", _dispatcher(found, now)),
        (
            "reports",
            f"{found.unprocessed_notifications} to process, {found.notifications_not_understood} not understood",
        ),
    ]


def _stopped(found: QueueStatus, now: datetime) -> str:
    if found.pause:
        return f"paused: {_spoken(found.pause)}"
    if found.circuit:
        probe = found.circuit.probe_at
        tries = "one mail at a time tries" if probe is None or probe <= now else f"one mail tries {_when(probe, now)}"
        return f"stopped since {spoken_time(found.circuit.since)}, because SES says: {found.circuit.reason}; {tries}"
    return "goes on"


def _spoken(pause: Pause) -> str:
    by = f" by {pause.actor}" if pause.actor else ""
    return f"since {spoken_time(pause.since)}{by}, {pause.reason}"


def _due(found: QueueStatus, now: datetime) -> str:
    if found.oldest_due_at is None:
        return "nothing"
    return f"{counted(found.due)}, the first {_when(found.oldest_due_at, now)}"


def _dispatcher(found: QueueStatus, now: datetime) -> str:
    dispatcher = found.dispatcher
    if not dispatcher.holder:
        return "none is active; is a worker running?"
    return f"{dispatcher.holder}, last beat {_when(dispatcher.last_beat_at, now)}"


def _reports(found: QueueStatus) -> str:
    return f"{found.unprocessed_notifications} to process, {found.notifications_not_understood} not understood"


def _when(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "none"
    seconds = round((moment - now).total_seconds())
    return f"in {_length(seconds)}" if seconds > 0 else f"{_length(-seconds)} ago"


def _length(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
