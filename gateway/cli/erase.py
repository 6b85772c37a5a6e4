"""`sesgate erase`: removes one person's address from everything that is stored."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import click
from rich.console import Console
from rich.progress import Progress

from gateway.addresses import Mailbox
from gateway.cli.context import actor, load_settings, mailbox_argument, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import show_json, show_pairs
from gateway.store.erasure import Erasure, StillWaitingError, refuse_waiting
from gateway.store.suppression_rows import Suppression
from gateway.store.traces import Traces


@dataclass(frozen=True, slots=True)
class Summary:
    """What a script reads of an erasure. `contents_left` go by retention, when the others' mail has ended."""

    address: str
    recipients: int
    messages: int
    messages_to_others_too: int
    contents_left: int
    events: int
    notifications: int
    texts: int
    suppression: str
    erased: bool


@click.command(epilog=example("sesgate erase jane@example.com --dry-run", "sesgate erase jane@example.com --yes"))
@click.argument("address")
@click.option(
    "--keep-suppression/--forget-suppression",
    default=True,
    show_default=True,
    help="Whether ADDRESS stays among those that are not mailed; an opt-out cannot be honoured without it.",
)
@click.option("--cancel", is_flag=True, help="Give up mail to ADDRESS that is not at its end.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(address: str, keep_suppression: bool, cancel: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove ADDRESS from everything that is stored: mail to it, what became of it, reports, log of changes.

    Mail that went to this address alone is deleted. Of a mail to several, the others keep theirs. Backups, logs and
    AWS keep what they have: see docs/erase.md.
    """
    mailbox = mailbox_argument(address)
    with opened_stores(load_settings()) as stores:
        erasure = Erasure(stores.db)
        traces = _find(erasure, mailbox)
        if not as_json:
            _show(traces, keep_suppression=keep_suppression)
        if not dry_run:
            _confirm(traces, cancel=cancel, yes=yes)
            _erase(erasure, traces, cancel=cancel, keep_suppression=keep_suppression, quiet=as_json)
    if as_json:
        show_json(_summary(traces, keep_suppression=keep_suppression, erased=not dry_run))


def _find(erasure: Erasure, mailbox: Mailbox) -> Traces:
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("Looking")
        return erasure.find(mailbox, lambda done, total: bar.update(task, completed=done, total=total))


def _confirm(traces: Traces, *, cancel: bool, yes: bool) -> None:
    """CommandError when it cannot be done now or the answer is no, UsageError when nobody can be asked."""
    try:
        refuse_waiting(traces.waiting, traces.reports_to_process, cancel=cancel)
    except StillWaitingError as error:
        raise CommandError(str(error)) from None
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here; add --yes to remove it, or --dry-run to look only.")
    if not click.confirm("Remove all of this for good?", err=True):
        raise CommandError("Nothing was removed.")


def _erase(erasure: Erasure, traces: Traces, *, cancel: bool, keep_suppression: bool, quiet: bool) -> None:
    erasure.erase(traces, cancel=cancel, forget_suppression=not keep_suppression, actor=actor())
    scoured = erasure.scour()
    if not scoured:
        click.echo("The database's log was in use and still holds old pages; run the command again later.", err=True)
    if quiet:
        return
    click.echo(f"{traces.mailbox} is removed.")
    if traces.contents_needed:
        click.echo(
            f"{traces.contents_needed} of the mails to others too are still to be sent, and their content may name the"
            " address; it goes when SESGATE_RETAIN_CONTENT is over.",
            err=True,
        )
    click.echo("Backups, logs and AWS keep what they have; see docs/erase.md.", err=True)


def _show(traces: Traces, *, keep_suppression: bool) -> None:
    summary = _summary(traces, keep_suppression=keep_suppression, erased=False)
    waiting = ", ".join(f"{count} {status}" for status, count in sorted(traces.waiting.items()))
    show_pairs(
        (
            ("address", summary.address),
            ("mail to it", f"{summary.recipients}{f', not ended: {waiting}' if waiting else ''}"),
            ("messages", f"{summary.messages} to it alone, {summary.messages_to_others_too} that concern others too"),
            ("reports", f"{summary.notifications} as they came, {summary.events} events"),
            ("texts", f"{summary.texts} that mention it"),
            ("suppression", summary.suppression),
        )
    )


def _summary(traces: Traces, *, keep_suppression: bool, erased: bool) -> Summary:
    return Summary(
        address=str(traces.mailbox),
        recipients=len(traces.recipients),
        messages=len(traces.whole_messages),
        messages_to_others_too=len(traces.other_messages),
        contents_left=traces.contents_needed,
        events=len(traces.events),
        notifications=len(traces.notifications),
        texts=len(traces.texts),
        suppression=_suppression(traces, keep_suppression=keep_suppression),
        erased=erased,
    )


def _suppression(traces: Traces, *, keep_suppression: bool) -> str:
    if not traces.suppressions:
        return "none: the address can be mailed"
    standing = "; ".join(map(_standing, traces.suppressions))
    if keep_suppression:
        return f"kept, so that the address is not mailed again ({standing})"
    return f"forgotten, so that the address can be mailed again ({standing})"


def _standing(found: Suppression) -> str:
    scope = f" for {found.scope}" if found.scope else ""
    return f"{found.reason}, {found.since:%Y-%m-%d}{scope}"
