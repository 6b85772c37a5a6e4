"""`sesgate suppressions sync`: our suppressions beside SES's account-level list."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import click

from gateway.aws.suppression_list import AccountList, AccountListError, AddressRefusedError
from gateway.cli.account_list import account_list
from gateway.cli.account_list_report import Report, addresses, named, report_of, show_report, spoken_estimate
from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import show_json
from gateway.cli.progress import bar, ending_between_steps
from gateway.store.account_list import ADOPTED_AT_ONCE, SOURCE, AccountListing, record
from gateway.store.db import Database
from gateway.store.errors import StoreUnavailableError
from gateway.suppression_drift import (
    AccountSide,
    Drift,
    Kind,
    Local,
    Request,
    compare,
    count_requests,
    in_batches,
    requests,
    told_to_ses,
)
from gateway.suppression_policy import Policy

_MANY = 10_000  # requests; beyond them an import job of SES is the better way

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show how the two lists differ.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass(frozen=True, slots=True)
class _Compared:
    """Both sides, and how they differ."""

    db: Database
    account: AccountList
    listing: AccountListing
    at_ses: AccountSide
    drift: Drift


@dataclass(slots=True)
class _Progress:
    """How far a run came, and what ended it early."""

    done: Counter[str]
    refused: list[str]
    interrupted: bool = False
    failure: str = ""


@click.group(epilog=example("sesgate suppressions sync pull --dry-run"))
def sync() -> None:
    """Bring our suppressions and SES's account-level list into step.

    SES does not deliver to the addresses on its own list, whatever is suppressed here. Both commands first show how
    the two differ.
    """


@sync.command(epilog=example("sesgate suppressions sync pull --dry-run"))
@_DRY_RUN
@_JSON
def pull(dry_run: bool, as_json: bool) -> None:
    """Suppress here what SES's list has and we have not.

    The date and the reason are those of SES. What a person lifted here after SES had listed it is left alone: `push`
    lifts it at SES.
    """
    with _compared() as compared:
        to_do = len(compared.drift.to_adopt)
        report = report_of(compared.at_ses, compared.drift, to_do=to_do, dry_run=dry_run)
        _show(report, as_json=as_json)
        progress = _Progress(Counter(), [])
        if to_do and not dry_run:
            _adopt(compared, progress)
    _conclude(report, progress, as_json=as_json, said=f"{addresses(progress.done['suppressed'])} suppressed here.")
    if not as_json and (lifted := compared.drift.counts[Kind.LIFTED_HERE]):
        click.echo(f"SES still blocks {addresses(lifted)} lifted here; see `sesgate suppressions sync push`.", err=True)


@sync.command(epilog=example("sesgate suppressions sync push --dry-run", "sesgate suppressions sync push --yes"))
@click.option("--all-reasons", is_flag=True, help="Also what is suppressed by hand (as BOUNCE) or unsubscribed.")
@_DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask before addresses are lifted at SES.")
@_JSON
def push(all_reasons: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """List at SES what is suppressed here, and lift what was lifted.

    Lifted at SES is what a person lifted here after SES had listed it. AWS allows one request a second, and each
    address is one. Domains, suppressions for one credential and those that end by themselves stay here: SES's list has
    nothing like them.
    """
    with _compared() as compared:
        to_do = count_requests(compared.drift, all_reasons=all_reasons)
        report = report_of(compared.at_ses, compared.drift, to_do=to_do, dry_run=dry_run)
        _show(report, as_json=as_json)
        if to_do:
            click.echo(_estimate(to_do), err=True)
        progress = _Progress(Counter(), [])
        if to_do and not dry_run:
            _confirm(compared.drift, yes=yes)
            _tell_ses(compared, progress, to_do, all_reasons=all_reasons)
    put, deleted = addresses(progress.done["listed"]), addresses(progress.done["lifted"])
    _conclude(report, progress, as_json=as_json, said=f"{put} listed at SES, {deleted} lifted there.")


@contextmanager
def _compared() -> Iterator[_Compared]:
    """CommandError when SES's list cannot be read, or somebody ended the reading."""
    settings = load_settings()
    with opened_stores(settings) as stores:
        account = account_list(stores.db)
        listing = AccountListing(stores.db, Policy.from_settings(settings))
        at_ses = _read(account)
        with bar("Comparing", None) as advance:
            drift = compare(_counted(listing.entries(), advance), at_ses, listing.lifted, listing.outlived)
        yield _Compared(stores.db, account, listing, at_ses, drift)


def _read(account: AccountList) -> AccountSide:
    at_ses = AccountSide()
    with ending_between_steps() as asked, bar("Reading SES's list", None) as advance:
        try:
            for page in account.pages():
                for listed in page:
                    at_ses.add(listed)
                advance(len(page))
                if asked():
                    raise CommandError("Interrupted while SES's list was read; nothing was changed.")
        except AccountListError as error:
            raise CommandError(f"SES's list could not be read. {error}") from error
    return at_ses


def _counted(entries: Iterable[Local], advance: Callable[[int], None]) -> Iterator[Local]:
    for entry in entries:
        advance(1)
        yield entry


def _adopt(compared: _Compared, progress: _Progress) -> None:
    found = compared.drift.to_adopt
    with ending_between_steps() as asked, bar("Suppressing", len(found)) as advance:
        for batch in in_batches(found, ADOPTED_AT_ONCE):
            if asked():
                progress.interrupted = True
                break
            try:
                progress.done["suppressed"] += compared.listing.adopt(batch, actor=actor())
            except StoreUnavailableError as error:
                progress.failure = str(error)
                break
            advance(len(batch))
    _record(compared.db, "pull", progress)


def _tell_ses(compared: _Compared, progress: _Progress, to_do: int, *, all_reasons: bool) -> None:
    listing = compared.listing
    wanted = requests(listing.entries(), compared.at_ses, compared.drift, all_reasons=all_reasons)
    with ending_between_steps() as asked, bar("Telling SES", to_do) as advance:
        try:
            for request in wanted:
                if asked():
                    progress.interrupted = True
                    break
                _tell(compared, request, progress, all_reasons=all_reasons)
                advance(1)
        except (AccountListError, StoreUnavailableError) as error:
            progress.failure = str(error)
    _record(compared.db, "push", progress)


def _tell(compared: _Compared, request: Request, progress: _Progress, *, all_reasons: bool) -> None:
    """Ask ours once more right before: the run may last for hours, and SES must not get what is no longer so."""
    standing = compared.listing.reason(request.key)
    try:
        if request.reason is None:
            if standing is None:
                progress.done["lifted"] += compared.account.delete(request.address)
        elif standing is not None and (reason := told_to_ses(standing, all_reasons=all_reasons)):
            compared.account.put(request.address, reason)
            progress.done["listed"] += 1
    except AddressRefusedError as error:
        progress.refused.append(f"{request.address}: {error}")


def _confirm(drift: Drift, *, yes: bool) -> None:
    """CommandError when the answer is no, UsageError when nobody can be asked."""
    lifted = drift.counts[Kind.LIFTED_HERE]
    if yes or not lifted:
        return
    what = named(drift.examples[Kind.LIFTED_HERE], lifted)
    if not sys.stdin.isatty():
        raise UsageError(f"Nobody can be asked here; add --yes to lift at SES: {what}. Nothing was changed.")
    click.echo(f"To be lifted at SES: {what}.", err=True)
    if not click.confirm("Lift them at SES, and list what is only here?", err=True):
        raise CommandError("Nothing was changed at SES.")


def _estimate(to_do: int) -> str:
    sentence = f"{to_do:,} requests at one a second: {spoken_estimate(to_do)}."
    if to_do <= _MANY:
        return sentence
    return f"{sentence} For so many an import job of SES is faster; docs/suppression.md says how."


def _record(db: Database, command: str, progress: _Progress) -> None:
    told = ", ".join(f"{count} {what}" for what, count in sorted(progress.done.items()) if count)
    if told:
        record(db, f"suppressions.sync.{command}", SOURCE, told, actor=actor())


def _show(report: Report, *, as_json: bool) -> None:
    if not as_json:
        show_report(report)


def _conclude(report: Report, progress: _Progress, *, as_json: bool, said: str) -> None:
    """CommandError when not everything was done."""
    if as_json:
        refused, interrupted = progress.refused, progress.interrupted
        show_json(replace(report, done=dict(progress.done), refused=refused, interrupted=interrupted))
    elif not report.dry_run:
        click.echo(said if report.to_do else "There is nothing to do.")
    for refusal in progress.refused:
        click.echo(refusal, err=True)
    if progress.failure:
        raise CommandError(f"{progress.failure} What was done so far stands; the same command does the rest.")
    if progress.interrupted:
        raise CommandError("Interrupted; what was done so far stands, and the same command does the rest.")
    if progress.refused:
        raise CommandError(f"SES did not take {addresses(len(progress.refused))}; the others are done.")
