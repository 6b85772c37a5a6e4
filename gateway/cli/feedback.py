"""`sesgate feedback`: what SES reported, as it came, and having it processed again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import click

from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import plain, printable, show_json, show_pairs, show_table, spoken_time
from gateway.cli.progress import bar, ending_between_steps
from gateway.settings import Settings
from gateway.store.errors import StoreUnavailableError
from gateway.store.replays import BATCH, Detail, FoundEvent, Progress, Replays, Stored

_LOOK_EVERY = 0.5  # seconds
_LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Summary:
    """What a script reads. Without --wait `processed`, `not_understood` and `waiting` are those of the moment."""

    replayed: int
    left_alone: int
    processed: int
    not_understood: int
    waiting: int


@click.group(epilog=example("sesgate feedback list --not-understood"))
def command() -> None:
    """See what SES reported, as it came, and have it processed again."""


def _day(_context: click.Context, _parameter: click.Parameter, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no day; write it like 2026-11-21. Days are those of UTC.") from None


_DAY = click.option("--day", metavar="DATE", callback=_day, help="Only what came on this day (UTC).")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@command.command("list", epilog=example("sesgate feedback list --day 2026-11-21 --limit 20"))
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many to show.")
@click.option("--before", type=click.IntRange(1, _LAST_ID), metavar="ID", help="Go on behind this notification.")
@click.option("--not-understood", is_flag=True, help="Only what is of an unknown kind and waits for a new release.")
@_DAY
@_JSON
def list_(limit: int, before: int | None, not_understood: bool, day: date | None, as_json: bool) -> None:
    """List the notifications that SNS delivered, the newest first."""
    with opened_stores(load_settings()) as stores:
        found = Replays(stores.db).list(limit=limit, before=before, not_understood=not_understood, day=day)
    if as_json:
        show_json([_plain(one) for one in found])
        return
    show_table(("ID", "RECEIVED", "STATE", "SNS MESSAGE ID", "WHY"), map(_row, found))
    if len(found) == limit:
        click.echo(f"There may be more: add --before {found[-1].id}", err=True)


def _row(stored: Stored) -> tuple[str, ...]:
    received = spoken_time(stored.received_at)
    return (str(stored.id), received, stored.state, stored.sns_message_id, stored.error or "-")


def _plain(stored: Stored) -> dict[str, object]:
    return {**plain(stored), "state": stored.state}


@command.command(epilog=example("sesgate feedback show 4711"))
@click.argument("notification", metavar="ID")
@_JSON
def show(notification: str, as_json: bool) -> None:
    """Show one notification as it came, and what was read in it.

    ID is that of `sesgate feedback list`, or SNS's own message id.
    """
    settings = load_settings()
    with opened_stores(settings) as stores:
        detail = Replays(stores.db).show(notification)
    if detail is None:
        raise _unknown(notification)
    if as_json:
        show_json({**_plain(detail.stored), "events": plain(detail.events), "message": detail.message})
        return
    show_pairs(_pairs(detail.stored))
    if detail.events:
        click.echo()
        show_table(("TIME", "RECIPIENT", "WHAT", "MESSAGE"), map(_event_row, detail.events))
    click.echo()
    click.echo(_no_longer_kept(settings) if detail.message is None else readable(detail.message))


def _unknown(typed: str) -> CommandError:
    return CommandError(f"There is no notification {printable(typed) or repr(typed)}.")


def _pairs(stored: Stored) -> Iterator[tuple[str, str]]:
    yield "notification", str(stored.id)
    yield "SNS message id", stored.sns_message_id
    yield "topic", stored.topic_arn
    yield "sent", spoken_time(stored.sent_at)
    yield "received", spoken_time(stored.received_at)
    yield "state", stored.state
    if stored.processed_at is not None:
        yield "processed", spoken_time(stored.processed_at)
    if stored.next_attempt_at is not None:
        yield "next attempt", spoken_time(stored.next_attempt_at)
    if stored.error:
        yield "why", stored.error


def _event_row(event: FoundEvent) -> tuple[str, ...]:
    return (spoken_time(event.occurred_at), event.recipient or "-", event.detail, event.message_ulid or "-")


def readable(message: str) -> str:
    """JSON with one member a line, and anything else as it came; nothing in it reaches the terminal but characters."""
    try:
        lines = json.dumps(json.loads(message), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        lines = [message]
    return "\n".join(map(printable, lines))


def _no_longer_kept(settings: Settings) -> str:
    days = settings.retain_notifications.days
    kept = f"{days} days" if days else str(settings.retain_notifications)
    return (
        f"Its text is no longer kept: SESGATE_RETAIN_NOTIFICATIONS keeps it for {kept}, and erasing a person ends it."
    )


@command.command(
    epilog=example(
        "sesgate feedback replay 4711 4712",
        "sesgate feedback replay --day 2026-11-21 --wait",
        "sesgate feedback replay --not-understood --wait",
    )
)
@click.argument("notifications", metavar="[ID]...", nargs=-1)
@_DAY
@click.option("--not-understood", is_flag=True, help="All that was of an unknown kind, as after an upgrade.")
@click.option("--wait", is_flag=True, help="Wait until the workers have processed them, and say what came of it.")
@_JSON
def replay(notifications: Sequence[str], day: date | None, not_understood: bool, wait: bool, as_json: bool) -> None:
    """Have stored notifications processed again, by the workers.

    It has no double effect: a report counts once, however often it is processed. What a person has lifted since a
    report came stays lifted.
    """
    if bool(notifications) == (day is not None or not_understood):
        raise UsageError("Say which notifications: give IDs, or --day, or --not-understood.")
    settings = load_settings()
    with opened_stores(settings) as stores:
        replays = Replays(stores.db)
        if notifications:
            ids = [_kept(replays, settings, one) for one in dict.fromkeys(notifications)]
        else:
            ids = list(replays.find(not_understood=not_understood, day=day))
        replayed = _set_about(replays, ids)
        progress = _wait(replays, ids) if wait else replays.progress(ids)
    summary = Summary(replayed, len(ids) - replayed, progress.processed, progress.not_understood, progress.waiting)
    if as_json:
        show_json(summary)
    else:
        click.echo(report(summary, waited=wait))
    if wait and progress.waiting:
        raise CommandError("Not all are processed yet; the workers go on with them.")


def _kept(replays: Replays, settings: Settings, typed: str) -> int:
    """The id of a notification that can be processed again; CommandError when there is none."""
    detail: Detail | None = replays.show(typed)
    if detail is None:
        raise _unknown(typed)
    if detail.message is None:
        raise CommandError(f"Notification {printable(typed)} cannot be replayed. {_no_longer_kept(settings)}")
    return detail.stored.id


def _set_about(replays: Replays, ids: Sequence[int]) -> int:
    """How many were. CommandError with the count when the database is away, or somebody ended it early."""
    done = seen = 0
    with ending_between_steps() as asked, bar("Replaying", len(ids)) as advance:
        try:
            for replayed in replays.replay(ids, actor=actor()):
                done += replayed
                seen = min(seen + BATCH, len(ids))
                advance(BATCH)
                if asked() and seen < len(ids):
                    raise CommandError(f"Interrupted after {_counted(done)}; the same command does the rest.")
        except StoreUnavailableError as error:
            raise CommandError(f"{error} {_counted(done)} replayed; the same command does the rest.") from error
    return done


def _wait(replays: Replays, ids: Sequence[int]) -> Progress:
    """What has become of them: once none waits any more, or somebody does not want to wait."""
    progress = replays.progress(ids)
    with ending_between_steps() as asked, bar("Processing", len(ids)) as advance:
        advance(len(ids) - progress.waiting)
        while progress.waiting and not asked():
            time.sleep(_LOOK_EVERY)
            before, progress = progress, replays.progress(ids)
            advance(before.waiting - progress.waiting)
    return progress


def report(summary: Summary, *, waited: bool) -> str:
    lines = [f"{_counted(summary.replayed)} to be processed again{'' if waited else ' by the workers'}."]
    if summary.left_alone:
        lines.append(f"{summary.left_alone} left alone: still waiting to be processed, or no longer kept.")
    if waited:
        lines.append(f"{summary.processed} understood, {summary.not_understood} not.")
    if waited and summary.not_understood:
        lines.append("`sesgate feedback list --not-understood` tells why.")
    return "\n".join(lines)


def _counted(notifications: int) -> str:
    return "1 notification" if notifications == 1 else f"{notifications} notifications"
