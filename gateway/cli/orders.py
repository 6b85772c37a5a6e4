"""`sesgate messages retry` and `cancel`: sending many recipients again, and giving them up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from gateway.cli.context import actor, load_settings, mailbox_argument, message_id_argument, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.moments import moment_or_age
from gateway.cli.output import counted, show_json
from gateway.cli.progress import bar, ending_between_steps
from gateway.cli.stops import spoken_stops, spoken_suppressed
from gateway.lifecycle import Status
from gateway.store.errors import StoreUnavailableError
from gateway.store.operations import Action, Operations, Order, Outcome, Selection, Skip
from gateway.store.queue import Queue
from gateway.store.stores import Stores

_STATUSES = click.Choice([status.value for status in Status], case_sensitive=False)
# SQLite and PostgreSQL both bind more than that to one statement.
_MOST_IDS = 10_000


@dataclass(frozen=True, slots=True)
class _Words:
    """How an action is spoken of."""

    doing: str
    future: str
    done: str
    question: str
    doubt: str


_WORDS = {
    Action.RETRY: _Words(
        doing="Queuing",
        future="would be sent again",
        done="queued",
        question="Send them again?",
        doubt="may have been sent already, and then arrive a second time",
    ),
    Action.CANCEL: _Words(
        doing="Cancelling",
        future="would be cancelled",
        done="cancelled",
        question="Cancel them?",
        doubt="may have been sent already, and cannot be called back then",
    ),
}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a script reads. `in_doubt` counts those of `to_do` that SES may have already."""

    matched: int
    to_do: int
    done: int
    in_doubt: int
    skipped: dict[str, int]
    dry_run: bool
    interrupted: bool


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options that `retry` and `cancel` have in common."""
    for decorate in reversed(
        (
            click.argument("message_ids", metavar="[ID]...", nargs=-1),
            click.option(
                "--status",
                "statuses",
                metavar="STATUS",
                type=_STATUSES,
                multiple=True,
                help="In this status, such as FAILED; may be repeated.",
            ),
            click.option("--address", help="To this address."),
            click.option("--credential", help="Accepted under this credential."),
            click.option(
                "--since", metavar="TIME|AGE", help="Accepted at this time (ISO 8601) or this long ago, or later."
            ),
            click.option("--before", metavar="TIME|AGE", help="Accepted before this time, or longer ago than this."),
            click.option("--reason-contains", metavar="TEXT", help="With this in the reason, in any case."),
            click.option("--all", "everything", is_flag=True, help="Whatever there is; instead of the filters above."),
            click.option("--reason", default="", help="Why; others read it, and the audit has it."),
            click.option("--dry-run", is_flag=True, help="Only count."),
            click.option("--yes", is_flag=True, help="Do not ask."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        )
    ):
        command = decorate(command)
    return command


@click.command(
    epilog=example(
        "sesgate messages retry 01KAMV7M0Q3W8Y4ZC9H2B6D5TN",
        'sesgate messages retry --status FAILED --since 2h --reason "sender is verified now"',
    )
)
@_selecting
def retry(**typed: Any) -> None:
    """Send again, now, what was held, failed or expired, and what waits for its next try.

    Meant are the recipients that meet all that is given. CANCELLED, SUPPRESSED and AMBIGUOUS ones are taken only if
    --status names them: they were given up on purpose, or SES may have them. What had ended gets a new maximum age.
    """
    _do(Action.RETRY, **typed)


@click.command(
    epilog=example("sesgate messages cancel --credential shop --before 1d", "sesgate messages cancel --all --dry-run")
)
@_selecting
def cancel(**typed: Any) -> None:
    """Give up what waits, is held, or is AMBIGUOUS; nothing is sent to those recipients any more.

    Meant are the recipients that meet all that is given. What is being handed to SES, or is there, is left alone.
    """
    _do(Action.CANCEL, **typed)


def _do(
    action: Action, *, everything: bool, reason: str, dry_run: bool, yes: bool, as_json: bool, **filters: Any
) -> None:
    order = Order(action, _selection(everything=everything, **filters), actor(), " ".join(reason.split()))
    settings = load_settings()
    with opened_stores(settings) as stores:
        operations = Operations(stores.db, settings.max_age)
        ids = operations.find(order)
        expected = _total(operations.preview(order, ids), "Looking", len(ids))
        if not as_json or not dry_run:
            click.echo(forecast(action, expected), err=True)
        if dry_run or not expected.done:
            if as_json:
                show_json(_summary(expected, Outcome(skipped=expected.skipped), dry_run=dry_run))
            return
        _confirm(action, expected, yes=yes)
        outcome, interrupted = _run(operations, order, ids)
        obstacles = _obstacles(stores, operations, ids) if action is Action.RETRY and outcome.done else []
    if as_json:
        show_json(_summary(expected, outcome, interrupted=interrupted))
    else:
        click.echo(report(action, outcome, at_once=not obstacles))
    for sentence in obstacles:
        click.echo(sentence, err=True)
    if interrupted:
        raise CommandError(f"Interrupted after {counted(outcome.done)}; the same command does the rest.")


def _selection(
    *,
    everything: bool,
    message_ids: Sequence[str],
    statuses: Sequence[str],
    address: str | None,
    credential: str | None,
    since: str | None,
    before: str | None,
    reason_contains: str | None,
) -> Selection:
    """UsageError when nothing was chosen, or something is malformed."""
    now = datetime.now(UTC)
    selection = Selection(
        messages=tuple(dict.fromkeys(message_id_argument(text) for text in message_ids)),
        statuses=tuple(Status(status) for status in dict.fromkeys(statuses)),
        address=None if address is None else str(mailbox_argument(address)),
        credential=credential,
        since=None if since is None else moment_or_age(since, now),
        before=None if before is None else moment_or_age(before, now),
        reason_contains=reason_contains or None,
    )
    chosen = selection != Selection()
    if everything and chosen:
        raise UsageError("--all stands alone: leave it out, or the filters.")
    if not everything and not chosen:
        raise UsageError("Say which messages: give IDs or a filter such as --status, or --all.")
    if len(selection.messages) > _MOST_IDS:
        raise UsageError(f"At most {_MOST_IDS} IDs at once; give the rest to another call.")
    return selection


def _confirm(action: Action, expected: Outcome, *, yes: bool) -> None:
    """CommandError when the answer is no, UsageError when nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"Nobody can be asked here; add --yes, or --dry-run to count only ({counted(expected.done)}).")
    if not click.confirm(_WORDS[action].question, err=True):
        raise CommandError("Nothing was changed.")


def _run(operations: Operations, order: Order, ids: list[int]) -> tuple[Outcome, bool]:
    """What was done, and whether somebody ended it early. CommandError with the count when the database is away."""
    total = Outcome()
    with ending_between_steps() as asked, bar(_WORDS[order.action].doing, len(ids)) as advance:
        try:
            for outcome in operations.run(order, ids):
                total += outcome
                advance(outcome.matched)
                if asked():
                    break
        except StoreUnavailableError as error:
            raise CommandError(f"{error} {counted(total.done)} done; the same command does the rest.") from error
    return total, total.matched < len(ids)


def _total(outcomes: Iterator[Outcome], description: str, of: int) -> Outcome:
    total = Outcome()
    with bar(description, of) as advance:
        for outcome in outcomes:
            total += outcome
            advance(outcome.matched)
    return total


def forecast(action: Action, expected: Outcome) -> str:
    """What is about to be done, in a few lines."""
    words = _WORDS[action]
    lines = [f"{counted(expected.done)} {words.future}."]
    if expected.in_doubt:
        lines.append(f"{expected.in_doubt} of them {words.doubt}.")
    return "\n".join([*lines, *_left_alone(expected)])


def report(action: Action, outcome: Outcome, *, at_once: bool = True) -> str:
    soon = ", to be sent now" if action is Action.RETRY and at_once else ""
    return "\n".join([f"{counted(outcome.done)} {_WORDS[action].done}{soon}.", *_left_alone(outcome)])


def _obstacles(stores: Stores, operations: Operations, ids: Sequence[int]) -> list[str]:
    """What keeps the recipients from being sent now, one sentence each."""
    try:
        stops, prospects = Queue(stores.db).stops(), operations.prospects(ids)
    except StoreUnavailableError as error:  # what was done is done, and has to be told
        return [f"Whether something stops the sending is not known: {error}"]
    suppressed = [spoken_suppressed(prospects.suppressed)] if prospects.suppressed else []
    return [*spoken_stops(stops, prospects.credentials), *suppressed]


def _left_alone(outcome: Outcome) -> list[str]:
    return [
        f"{count} left as {'it is' if count == 1 else 'they are'}: {skip.value}."
        for skip, count in sorted(outcome.skipped.items(), key=lambda pair: list(Skip).index(pair[0]))
    ]


def _summary(expected: Outcome, outcome: Outcome, *, dry_run: bool = False, interrupted: bool = False) -> Summary:
    return Summary(
        matched=expected.matched,
        to_do=expected.done,
        done=outcome.done,
        in_doubt=expected.in_doubt,
        skipped={skip.name.lower(): count for skip, count in outcome.skipped.items()},
        dry_run=dry_run,
        interrupted=interrupted,
    )
