"""`sesgate suppressions`: which addresses are not mailed, and why."""

from __future__ import annotations

import click

from gateway.cli.context import actor, load_settings, mailbox_argument, opened_stores
from gateway.cli.errors import CommandError
from gateway.cli.help import example
from gateway.cli.output import show_json, show_pairs, show_table, spoken_time
from gateway.store.suppressions import Suppression
from gateway.suppression_policy import Reason

_SOURCE = "operator"
_REASONS = click.Choice([reason.value for reason in Reason])


@click.group(epilog=example("sesgate suppressions show jane@example.com"))
def command() -> None:
    """See and change which addresses are not mailed."""


@command.command("list", epilog=example("sesgate suppressions list --reason complaint --limit 100"))
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many to show.")
@click.option("--after", metavar="ADDRESS", default="", help="Go on behind this address.")
@click.option("--reason", type=_REASONS, help="Only those suppressed for this reason.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(limit: int, after: str, reason: str | None, as_json: bool) -> None:
    """List suppressed addresses in alphabetical order."""
    key = mailbox_argument(after).key if after else ""
    with opened_stores(load_settings()) as stores:
        found = stores.suppressions.list(limit=limit, after=key, reason=Reason(reason) if reason else None)
    if as_json:
        show_json(found)
        return
    show_table(("ADDRESS", "REASON", "SINCE", "SOURCE", "DETAIL"), map(_row, found))
    if len(found) == limit:
        click.echo(f"There may be more: add --after {found[-1].address}", err=True)


def _row(suppression: Suppression) -> tuple[str, ...]:
    since = spoken_time(suppression.since)
    return (suppression.address, suppression.reason, since, suppression.source, suppression.detail)


@command.command(epilog=example("sesgate suppressions show jane@example.com"))
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(address: str, as_json: bool) -> None:
    """Say why ADDRESS is not mailed; exit code 1 when it is not suppressed."""
    mailbox = mailbox_argument(address)
    with opened_stores(load_settings()) as stores:
        found = stores.suppressions.find(mailbox)
    if found is None:
        raise CommandError(f"{mailbox} is not suppressed.")
    if as_json:
        show_json(found)
        return
    show_pairs(
        (
            ("address", found.address),
            ("reason", found.reason),
            ("since", spoken_time(found.since)),
            ("source", found.source),
            ("detail", found.detail or "-"),
        )
    )


@command.command(epilog=example('sesgate suppressions add jane@example.com --note "asked us by phone"'))
@click.argument("address")
@click.option("--reason", type=_REASONS, default=Reason.MANUAL.value, show_default=True, help="Why it is not mailed.")
@click.option("--note", default="", metavar="TEXT", help="A remark for whoever asks later.")
def add(address: str, reason: str, note: str) -> None:
    """Stop mail to ADDRESS."""
    mailbox = mailbox_argument(address)
    with opened_stores(load_settings()) as stores:
        added = stores.suppressions.add(mailbox, Reason(reason), source=_SOURCE, detail=note, actor=actor())
        standing = None if added else stores.suppressions.find(mailbox)
    if standing:
        click.echo(f"{mailbox} is suppressed already ({_short(standing)}); nothing was changed.")
    else:
        click.echo(f"{mailbox} is suppressed ({reason}).")


@command.command(epilog=example("sesgate suppressions remove jane@example.com"))
@click.argument("address")
def remove(address: str) -> None:
    """Let ADDRESS be mailed again."""
    mailbox = mailbox_argument(address)
    with opened_stores(load_settings()) as stores:
        removed = stores.suppressions.remove(mailbox, actor=actor())
    if not removed:
        raise CommandError(f"{mailbox} is not suppressed.")
    click.echo(f"{mailbox} is no longer suppressed here.")
    click.echo("SES keeps an account-level suppression list of its own, which this command does not change.", err=True)


def _short(suppression: Suppression) -> str:
    return f"{suppression.reason}, {suppression.since:%Y-%m-%d}"
