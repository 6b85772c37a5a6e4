"""`sesgate queue`: what waits for sending, what stops it, and the pause."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.errors import FAILED, CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import counted, printable, show_json, show_table, spoken_time
from gateway.cli.queue_look import as_json as look_as_json
from gateway.cli.queue_look import concerns, look_at
from gateway.cli.queue_screen import show, spoken_pause, spoken_rates
from gateway.cli.stops import spoken_stops
from gateway.lifecycle import Status
from gateway.reputation import LAST_SENDS
from gateway.store.queue import Pause, Queue, Waiting
from gateway.store.reputation import Standing
from gateway.store.stores import Stores

_BY_HAND = "by hand"
# What goes out at once when the pause is lifted; the others wait for evidence first, or for a person.
_SENT_ON_RESUME = (Status.QUEUED, Status.SENDING)


@click.group(epilog=example("sesgate queue status"))
def command() -> None:
    """See what waits for sending; pause and resume it."""


@command.command(epilog=example("sesgate queue status", "sesgate queue status --check"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="For a monitor: one line, and exit code 1 if something needs a person.")
@click.pass_context
def status(context: click.Context, as_json: bool, check: bool) -> None:
    """Show what waits, what is held and why, what is due, and what stops or slows the sending."""
    with opened_stores(load_settings()) as stores:
        look = look_at(stores)
    now = datetime.now(UTC)
    found = concerns(look, now)
    if as_json:
        show_json(look_as_json(look, now))
    elif check:
        click.echo(printable("; ".join(found)) if found else "Nothing needs a person.")
    else:
        show(look, now)
    if check and found:
        context.exit(FAILED)


_CREDENTIAL = click.option("--credential", metavar="NAME", help="Only what was accepted under this credential.")


@command.command(
    epilog=example(
        'sesgate queue pause --reason "new templates are being checked"', "sesgate queue pause --credential shop"
    )
)
@click.option("--reason", default=_BY_HAND, show_default=True, help="What others read as the reason.")
@_CREDENTIAL
def pause(reason: str, credential: str | None) -> None:
    """Stop sending at once. Mail is still accepted, and reports of SES are still taken in."""
    with opened_stores(load_settings()) as stores:
        if credential is not None:
            click.echo(_hold(stores, credential, reason))
            return
        standing = Queue(stores.db).pause(reason, actor=actor())
    if standing:
        click.echo(f"Sending was paused already ({spoken_pause(standing)}); nothing was changed.")
    else:
        click.echo("Sending is paused: mail is accepted and waits. What is being handed to SES now still goes out.")


def _hold(stores: Stores, credential: str, reason: str) -> str:
    if stores.reputation.hold(credential, reason, actor=actor()):
        return f"Nothing of {credential} is sent from now on: its mail is accepted and waits."
    standing = _standing(stores, credential)
    why = f"by {standing.held_by}, {standing.held_reason}"
    return f"{credential} was held already ({why}); nothing was changed."


@command.command(epilog=example("sesgate queue resume", "sesgate queue resume --credential shop"))
@click.option("--yes", is_flag=True, help="Do not ask, even if the database came from a backup.")
@_CREDENTIAL
def resume(yes: bool, credential: str | None) -> None:
    """Let sending go on. On a database that came from a backup it asks first.

    A credential that is held, by hand or for its bounces or complaints, is released by its name only. Its rates are
    judged anew then, by what it sends from that moment on.
    """
    with opened_stores(load_settings()) as stores:
        if credential is not None:
            click.echo(_release(stores, credential))
            _tell(spoken_stops(Queue(stores.db).stops(), [credential]))
            return
        queue = Queue(stores.db)
        standing = queue.find_pause()
        if standing and standing.backup_at:
            _confirm_restored(queue.waiting_since_backup(standing.backup_at), standing.backup_at, yes=yes)
        lifted = queue.resume(actor=actor())
        left = spoken_stops(queue.stops())
    click.echo(_lifted(lifted, stops=bool(left)))
    _tell(left)


def _lifted(pause: Pause | None, *, stops: bool) -> str:
    if pause is None:
        return "Sending was not paused."
    return f"{'The pause is lifted' if stops else 'Sending goes on'} (it was paused: {pause.reason})."


def _tell(sentences: list[str]) -> None:
    for sentence in sentences:
        click.echo(sentence, err=True)


def _release(stores: Stores, credential: str) -> str:
    standing = _standing(stores, credential)
    if not stores.reputation.release(credential, actor=actor()):
        return f"{credential} was not held."
    limits = stores.reputation.limits
    return (
        f"{credential} is released (it was held by {standing.held_by}: {standing.held_reason}).\n"
        f"Its last 24 hours: {spoken_rates(standing.day, limits)}."
        f" Its last {LAST_SENDS:,}: {spoken_rates(standing.last, limits)}.\n"
        "It is judged anew, by what it sends from now on. AWS goes on counting what was."
    )


def _standing(stores: Stores, credential: str) -> Standing:
    for standing in stores.reputation.standings():
        if standing.credential == credential:
            return standing
    raise CommandError(f"There is no credential {credential!r}.")


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
    count = _recipients(waiting, *_SENT_ON_RESUME)
    made = f"This database was restored from a backup made at {spoken_time(backup_at)}."
    if not waiting:
        return f"{made} Nothing from before the backup waits for sending, so nothing is sent twice."
    in_doubt, held = _recipients(waiting, Status.AMBIGUOUS), _recipients(waiting, Status.HELD)
    sent = f"When sending goes on, {counted(count)} from before it will be sent that may have been sent already,"
    parts = [made, sent, "after the backup was made."]
    if in_doubt:
        parts.append(f"{counted(in_doubt)} waited for evidence then: where none comes, it is sent again after a while,")
        parts.append("or held, as SESGATE_AMBIGUOUS says.")
    if held:
        parts.append(f"{counted(held)} waited for a person then, and still will.")
    return " ".join(parts)


def _recipients(waiting: list[Waiting], *statuses: Status) -> int:
    return sum(one.recipients for one in waiting if one.status in statuses)


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
