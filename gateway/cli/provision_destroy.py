"""`sesgate provision --destroy`: lists what carries our tag, asks, and removes it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import click

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.destroy import Farewell, Remover, farewell, take_inventory
from gateway.aws.provisioning.found import Reader, caller
from gateway.aws.provisioning.names import Names
from gateway.aws.provisioning.options import check_names
from gateway.aws.session import Aws, clients
from gateway.cli.aws_stamp import require_one_aws
from gateway.cli.context import actor, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.progress import ending_between_steps
from gateway.cli.provision_screen import show_farewell, show_place, warn
from gateway.settings import Settings
from gateway.store.stores import Stores
from gateway.store.trusted_topics import forget_topics, trusted_topics


@dataclass(frozen=True, slots=True)
class Asked:
    """Which set-up is to go, and how."""

    name: str
    environment: str
    webhook_url: str | None
    dry_run: bool
    yes: bool


def run(settings: Settings, asked: Asked) -> None:
    """OptionsError, AwsCallError, CommandError or UsageError when it cannot be done."""
    check_names(asked.name, asked.environment)
    names = Names(f"{asked.name}-{asked.environment}", asked.environment)
    aws = clients()
    with opened_stores(settings) as stores:
        require_one_aws(aws, stores.db)
        place, who = caller(aws)
        show_place(place, who)
        goodbye = farewell(take_inventory(Reader(aws, place), names), names, webhook_url=asked.webhook_url)
        stale = _stale(stores, [place.arn("sns", name) for name in names.topics], goodbye)
        show_farewell(goodbye)
        if not goodbye.removals and not stale:
            click.echo(f"There is nothing of {names.scope} to remove.")
            return
        _warn_of_use(settings, names, goodbye)
        if not asked.dry_run:
            _confirm(asked)
            _remove(aws, stores, goodbye, stale)


def _stale(stores: Stores, arns: list[str], goodbye: Farewell) -> list[str]:
    """The topics that the gateway forgets: ours, and those of our names that are gone already."""
    known = trusted_topics(stores.db)
    return [arn for arn in arns if arn in known and arn not in goodbye.strange_topics]


def _warn_of_use(settings: Settings, names: Names, goodbye: Farewell) -> None:
    removed = any(each.found.name == names.configuration_set for each in goodbye.removals)
    if removed and settings.ses_configuration_set == names.configuration_set:
        warn(
            f"SESGATE_SES_CONFIGURATION_SET is {names.configuration_set} here: SES refuses all mail of this gateway"
            " once the set is gone."
        )


def _confirm(asked: Asked) -> None:
    if asked.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here; look at it with --dry-run, then add --yes.")
    if not click.confirm("Remove all of this?", err=True):
        raise CommandError("Nothing was removed.")


def _remove(aws: Aws, stores: Stores, goodbye: Farewell, stale: list[str]) -> None:
    remover = Remover(aws, goodbye.topics)
    with ending_between_steps() as ending:
        for removal in goodbye.removals:
            if ending():
                raise CommandError("It ended between two steps, as asked. Run the same command again to go on.")
            try:
                remover.remove(removal)
            except AwsCallError as error:
                raise CommandError(
                    f"It stopped at {removal.title}. {error} Run the same command again to go on from there."
                ) from None
            click.echo(f"- {removal.title}: removed")
    if forget_topics(stores.db, stale, actor=actor()):
        click.echo("The gateway does not trust their topics any more.")
