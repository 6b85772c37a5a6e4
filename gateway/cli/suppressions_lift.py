"""What `sesgate suppressions remove` does about SES's own list, which blocks an address whatever is lifted here."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable

import click

from gateway.cli.context import actor
from gateway.cli.errors import CommandError, UsageError
from gateway.store.account_list import record
from gateway.store.errors import StoreError
from gateway.store.stores import Stores
from gateway.store.suppression_rows import Suppression
from gateway.subjects import Subject
from gateway.suppression_drift import is_known_to_ses

AT_SES = click.option(
    "--at-ses/--not-at-ses",
    "at_ses",
    default=None,
    help="Whether to lift it on SES's account-level list too. Without this a terminal asks.",
)


def require_listable(subject: Subject, scope: str, *, at_ses: bool | None) -> None:
    """UsageError when what is lifted is nothing that SES could have on its list, and that was asked for."""
    if at_ses and (subject.is_domain or scope):
        what = "whole domains" if subject.is_domain else "suppressions for one credential"
        raise UsageError(f"SES's list holds addresses, not {what}; leave --at-ses out.")


def lift_at_ses_too(stores: Stores, subject: Subject, lifted: Suppression | None, *, at_ses: bool | None) -> None:
    """Lift at SES what was just lifted here (None: nothing was), if somebody wants it.

    Nothing is offered when SES cannot have listed it. CommandError when SES was asked in vain: what was lifted here
    stays lifted.
    """
    if at_ses is None:
        at_ses = _may_be_listed(stores, subject, lifted) and _is_wanted(subject)
    if at_ses:
        _lift(stores, subject, _spellings(stores, subject, lifted))


def _may_be_listed(stores: Stores, subject: Subject, lifted: Suppression | None) -> bool:
    """Also when a bounce or complaint of the past was replaced by something stronger here, SES may have it still."""
    if lifted is None or lifted.scope or subject.is_domain:
        return False
    past = (ended.suppression for ended in stores.suppressions.history(subject))
    return any(is_known_to_ses(one.reason) for one in (lifted, *past) if not one.scope)


def _is_wanted(subject: Subject) -> bool:
    if sys.stdin.isatty():
        click.echo("SES may have it on its own list, and goes on blocking it then.", err=True)
        if click.confirm("Lift it at SES too?", default=True, err=True):
            return True
    click.echo(f"SES goes on blocking it if its own list has it; to lift it there: {_command(subject)}", err=True)
    return False


def _command(subject: Subject) -> str:
    return f"sesgate suppressions remove {shlex.quote(subject.address)} --at-ses"


def _spellings(stores: Stores, subject: Subject, lifted: Suppression | None) -> list[str]:
    """SES tells spellings apart: as given, as stored now or once, and in lower case."""
    past = (ended.suppression.address for ended in stores.suppressions.history(subject))
    stored = () if lifted is None else (lifted.address,)
    return list(dict.fromkeys((subject.address, *stored, *past, subject.key)))


def _lift(stores: Stores, subject: Subject, spellings: Iterable[str]) -> None:
    # boto3 is loaded by those only who call AWS.
    from gateway.aws.suppression_list import AccountListError  # noqa: PLC0415
    from gateway.cli.account_list import account_list, deleted_at_ses  # noqa: PLC0415

    try:
        found = deleted_at_ses(account_list(stores.db), spellings)
    except (AccountListError, CommandError, StoreError) as error:
        raise CommandError(f"It is not lifted at SES. {error} To try again: {_command(subject)}") from error
    if not found:
        click.echo("SES does not have it on its list.")
        return
    told = ", ".join(found)
    record(stores.db, "suppressions.remove_at_ses", subject.key, told, actor=actor())
    click.echo(f"Lifted at SES: {told}.")
