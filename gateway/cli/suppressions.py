"""`sesgate suppressions`: whom nothing is sent to, and why."""

from __future__ import annotations

import importlib
from contextlib import suppress
from datetime import UTC, datetime

import click

from gateway.addresses import AddressError, address_key
from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.moments import moment_or_term
from gateway.cli.output import show_json
from gateway.cli.suppression_lists import REASONS, require_credential
from gateway.cli.suppressions_lift import AT_SES, lift_at_ses_too, require_listable
from gateway.cli.suppressions_screen import (
    Look,
    in_force,
    show_list,
    show_look,
    spoken,
    spoken_reason,
    spoken_removal,
    typed,
)
from gateway.setting_values import NEVER
from gateway.store.stores import Stores
from gateway.store.suppression_rows import Suppression
from gateway.subjects import Subject, domain_key_of, entry_key, parse_subject
from gateway.suppression_policy import Policy, Reason

_SOURCE = "operator"
_SUBJECT = click.argument("subject", metavar="ADDRESS")

# Commands with a module of their own, which is loaded only when it is asked for.
_ELSEWHERE: dict[str, tuple[str, str]] = {
    "import": ("gateway.cli.suppressions_import", "import_"),
    "export": ("gateway.cli.suppressions_export", "export"),
    "sync": ("gateway.cli.suppressions_sync", "sync"),
}


class Group(click.Group):
    """The commands of this module, and those that are elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = _ELSEWHERE[cmd_name]
        found = getattr(importlib.import_module(module), name)
        if not isinstance(found, click.Command):
            raise TypeError(f"{module}.{name} is no click command")
        return found


@click.group(cls=Group, epilog=example("sesgate suppressions show jane@example.com"))
def command() -> None:
    """See and change which addresses are not mailed.

    Where ADDRESS stands, a domain may stand too: @example.com is everybody there, but nobody at its subdomains.
    """


@command.command("list", epilog=example("sesgate suppressions list --reason complaint --limit 100"))
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many to show.")
@click.option("--after", metavar="ADDRESS", default="", help="Go on behind this address.")
@click.option("--reason", type=REASONS, help="Only those suppressed for this reason.")
@click.option("--credential", "--scope", "scope", metavar="NAME", help="Only what is for this credential alone.")
@click.option("--expired", is_flag=True, help="Those whose time is over, as long as they are not put away.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(limit: int, after: str, reason: str | None, scope: str | None, expired: bool, as_json: bool) -> None:
    """List suppressed addresses in alphabetical order."""
    key = _key(after) if after else ""
    with opened_stores(load_settings()) as stores:
        require_credential(stores, scope)
        found = stores.suppressions.list(
            limit=limit, after=key, reason=Reason(reason) if reason else None, scope=scope, expired=expired
        )
    if as_json:
        show_json(found)
        return
    show_list(found)
    if len(found) == limit:
        click.echo(f"There may be more: add --after {typed(found[-1])}", err=True)


@command.command(epilog=example("sesgate suppressions show jane@example.com", "sesgate suppressions show @example.com"))
@_SUBJECT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(subject: str, as_json: bool) -> None:
    """Say why ADDRESS is not mailed, and why it once was not.

    The exit code is 1 when nothing keeps mail from it now: neither an entry of its own nor one of its domain.
    """
    with opened_stores(load_settings()) as stores:
        asked = _known(stores, subject)
        look = _look(stores, asked)
    if as_json:
        show_json(look)
    else:
        show_look(look)
    if not look.in_force:
        raise CommandError(f"{asked} is not suppressed.")


@command.command(
    epilog=example(
        'sesgate suppressions add jane@example.com --note "asked us by phone"',
        "sesgate suppressions add @example.com --credential shop --expires 30d",
    )
)
@_SUBJECT
@click.option("--reason", type=REASONS, default=Reason.MANUAL.value, show_default=True, help="Why it is not mailed.")
@click.option("--note", default="", metavar="TEXT", help="A remark for whoever asks later.")
@click.option("--credential", "scope", metavar="NAME", default="", help="Only mail of this credential is meant.")
@click.option(
    "--expires",
    metavar="WHEN",
    help=f"Until when: 30d, 2026-12-31 or {NEVER}.  [default: what SESGATE_SUPPRESS_* says for the reason]",
)
def add(subject: str, reason: str, note: str, scope: str, expires: str | None) -> None:
    """Stop mail to ADDRESS."""
    asked, settings, why, now = _subject(subject), load_settings(), Reason(reason), datetime.now(UTC)
    expires_at = _end(expires, now) if expires else Policy.from_settings(settings).expires(why, now)
    with opened_stores(settings) as stores:
        added = stores.suppressions.add(
            asked, why, source=_SOURCE, detail="", note=note, actor=actor(), scope=scope, expires_at=expires_at
        )
        standing = [entry for entry in stores.suppressions.of(asked) if entry.scope == scope]
    said = ", ".join(spoken_reason(entry) for entry in standing)
    if added:
        click.echo(f"{spoken(asked, scope)} is suppressed ({said}).")
    else:
        click.echo(f"{spoken(asked, scope)} is suppressed already ({said}); nothing was changed.")


@command.command(
    epilog=example(
        'sesgate suppressions remove jane@example.com --reason "has a new mailbox"',
        "sesgate suppressions remove jane@example.com --at-ses",
    )
)
@_SUBJECT
@click.option("--reason", "why", metavar="TEXT", default="", help="Why it may be mailed again; needed.")
@click.option("--credential", "scope", metavar="NAME", default="", help="What holds for this credential alone.")
@AT_SES
def remove(subject: str, why: str, scope: str, at_ses: bool | None) -> None:
    """Let ADDRESS be mailed again.

    SES has an account-level list of its own and goes on blocking what is on it. With --at-ses it is lifted there, too,
    also when nothing is suppressed here any more; no reason is needed then.
    """
    why = why.strip()
    with opened_stores(load_settings()) as stores:
        asked = _known(stores, subject)
        require_listable(asked, scope, at_ses=at_ses)
        if not why and not at_ses:
            raise _no_reason()
        require_credential(stores, scope)
        removed = _lift_here(stores, asked, scope, why)
        others = _look(stores, asked).in_force
        if removed is None and not at_ses:
            raise CommandError(" ".join([f"{spoken(asked, scope)} is not suppressed.", *map(_also, others)]))
        click.echo(_spoken_end(asked, scope, removed))
        for entry in others:
            click.echo(_also(entry), err=True)
        lift_at_ses_too(stores, asked, removed, at_ses=at_ses)


def _lift_here(stores: Stores, asked: Subject, scope: str, why: str) -> Suppression | None:
    """What was lifted; None when nothing was in force. UsageError when there is something, and no reason to lift it."""
    if why:
        return stores.suppressions.remove(asked, scope=scope, why=why, actor=actor())
    if any(entry.scope == scope for entry in in_force(stores.suppressions.of(asked), datetime.now(UTC))):
        raise _no_reason()
    return None


def _no_reason() -> UsageError:
    return UsageError('Say why it may be mailed again, with --reason "..."; the history keeps it.')


def _spoken_end(asked: Subject, scope: str, removed: Suppression | None) -> str:
    if removed is None:
        return f"{spoken(asked, scope)} is not suppressed here."
    return f"{spoken(asked, scope)} is no longer suppressed here (was {spoken_reason(removed)})."


def _also(entry: Suppression) -> str:
    who = spoken(Subject(entry.address, entry.key), entry.scope)
    return f"{who} is suppressed ({spoken_reason(entry)}); `{spoken_removal(entry)}` lifts it."


def _look(stores: Stores, subject: Subject) -> Look:
    """Of an address with what concerns its whole domain."""
    subjects = [subject]
    if not subject.is_domain:
        domain = domain_key_of(subject.key)
        subjects.append(Subject(domain, domain))
    entries = [entry for one in subjects for entry in stores.suppressions.of(one)]
    past = [ended for one in subjects for ended in stores.suppressions.history(one)]
    return Look(str(subject), in_force(entries, datetime.now(UTC)), sorted(past, key=lambda ended: ended.ended_at))


def _subject(text: str) -> Subject:
    try:
        return parse_subject(text)
    except AddressError as error:
        raise UsageError(f"{text!r} is no address and no domain: {error}.") from None


def _known(stores: Stores, text: str) -> Subject:
    """Also what is no address but stands in the list all the same, for SES reported it: it must be possible to lift."""
    try:
        return _subject(text)
    except UsageError:
        reported = Subject(text.strip(), address_key(text))
        if stores.suppressions.of(reported) or stores.suppressions.history(reported):
            return reported
        raise


def _key(text: str) -> str:
    """The key of what `list` names: an address or domain, with a slash and the credential when it is for one alone."""
    try:
        return parse_subject(text).key
    except AddressError:
        subject, slash, scope = text.rpartition("/")
        with suppress(AddressError):
            return entry_key(parse_subject(subject if slash else text).key, scope if slash else "")
        return text if address_key(text) == text else _subject(text).key


def _end(text: str, now: datetime) -> datetime | None:
    return None if text.casefold() == NEVER else moment_or_term(text, now)
