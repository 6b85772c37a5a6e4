"""`sesgate credentials`: who may send through this gateway."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.credentials_screen import as_json as standing_as_json
from gateway.cli.credentials_screen import show as show_standing
from gateway.cli.credentials_screen import show_all
from gateway.cli.credentials_terms import NONE, terms_of, with_terms
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import show_json, spoken_time
from gateway.credentials import Credential, CredentialError, by_network
from gateway.setting_values import parse_duration
from gateway.store.credentials import Standing
from gateway.store.stores import Stores


@click.group(epilog=example('sesgate credentials add shop --application "Web shop" --sender example.com'))
def command() -> None:
    """See and change who may send: one credential for each application.

    A client is admitted by user name and secret (AUTH), or by its network. `local` is built in, for the machines in
    SESGATE_TRUSTED_NETWORKS. See docs/credentials.md.
    """


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_NAME = click.argument("name")


@command.command("list", epilog=example("sesgate credentials list"))
@_JSON
def list_(as_json: bool) -> None:
    """List all credentials with application, state, live secrets, networks, caps and last use."""
    with opened_stores(load_settings()) as stores:
        standings = stores.credentials.standings()
    now = datetime.now(UTC)
    if as_json:
        show_json([standing_as_json(one, now) for one in standings])
    else:
        show_all(standings, now)


@command.command(epilog=example("sesgate credentials show shop"))
@_NAME
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show everything about one credential, but for its secrets: nobody has those but the application."""
    with opened_stores(load_settings()) as stores:
        standing = _standing(stores, name)
    now = datetime.now(UTC)
    if as_json:
        show_json(standing_as_json(standing, now))
    else:
        show_standing(standing, now)


@command.command(
    epilog=example(
        "sesgate credentials add shop --sender example.com --per-day 5000 > shop.secret",
        "sesgate credentials add scanner --network 10.1.2.3 --no-secret",
    )
)
@_NAME
@with_terms
@click.option(
    "--secret/--no-secret", default=True, help="Whether there is a secret to log in with; by default there is."
)
@_JSON
def add(name: str, secret: bool, as_json: bool, **typed: Any) -> None:
    """Let an application send, with NAME as its SMTP user name.

    Its secret is made here and printed once, alone on standard output: only its digest is kept.
    """
    settings = load_settings()
    with opened_stores(settings) as stores:
        made = _asked(lambda: stores.credentials.add(name, actor=actor(), secret=secret, **terms_of(typed)))
        credential = _standing(stores, name).credential
    if as_json:
        show_json({"name": name, "secret": made or None})
    elif made:
        _hand_over(made, f"{name} may send. This is its secret, shown this once; the user name is {name}.")
    else:
        click.echo(f"{name} may send from {_spoken_networks(credential)}, without a secret.")
    _warn_of_public_networks(credential)


@command.command(
    epilog=example("sesgate credentials change shop --per-day 10000", "sesgate credentials change shop --sender none")
)
@_NAME
@with_terms
def change(name: str, **typed: Any) -> None:
    """Change what NAME may do. What is not typed stays; `none` takes a limit away, and a list is replaced as a whole.

    The SMTP front reads changes within seconds.
    """
    terms = terms_of(typed)
    if not terms:
        raise UsageError("Say what to change, such as --per-day 10000; `none` takes a limit away.")
    if "application" in terms and terms["application"] == NONE:
        terms["application"] = name
    with opened_stores(load_settings()) as stores:
        credential = _asked(lambda: stores.credentials.change(name, actor=actor(), **terms))
        standing = _standing(stores, name)
    show_standing(standing, datetime.now(UTC))
    _warn_of_public_networks(credential)


@command.command(
    epilog=example(
        "sesgate credentials rotate shop > shop.secret",
        "sesgate credentials rotate shop --overlap 7d",
        "sesgate credentials rotate shop --finish",
    )
)
@_NAME
@click.option(
    "--overlap", metavar="DURATION", help="How long the old secret stays good; without it 24h, and 0s ends it."
)
@click.option("--finish", is_flag=True, help="End the old secret now, and make no other.")
@click.option("--again", is_flag=True, help="The new secret was lost: replace it, unless it was used already.")
@_JSON
def rotate(name: str, overlap: str | None, finish: bool, again: bool, as_json: bool) -> None:
    """Make another secret for NAME, while the old one stays good for some time.

    The new one is printed once, alone on standard output. Give it to the application, and finish when it uses it:
    `sesgate credentials show` says when each was last used.
    """
    if finish and (overlap is not None or again):
        raise UsageError("--finish ends the old secret now; leave out --overlap and --again.")
    lasting = _OVERLAP if overlap is None else _duration(overlap)
    with opened_stores(load_settings()) as stores:
        if finish:
            _finish(stores, name, as_json=as_json)
            return
        made = _asked(lambda: stores.credentials.rotate(name, overlap=lasting, actor=actor(), again=again))
        ends_at = [secret.expires_at for secret in _standing(stores, name).credential.live_secrets(datetime.now(UTC))]
    old = next(filter(None, ends_at), None)
    if as_json:
        show_json({"name": name, "secret": made, "old_secret_ends_at": old})
        return
    told = f"The old one is good until {spoken_time(old)}." if old else "No other one is good any more."
    _hand_over(made, f"This is the new secret of {name}, shown this once. {told}")


_OVERLAP = timedelta(hours=24)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _finish(stores: Stores, name: str, *, as_json: bool) -> None:
    ended = stores.credentials.finish_rotation(name, actor=actor())
    if as_json:
        show_json({"name": name, "ended": ended})
    elif ended:
        click.echo(f"The old secret of {name} has ended; only the newest one is good.")
    else:
        click.echo(f"{name} has no older secret that is still good; nothing was changed.")


@command.command(epilog=example("sesgate credentials disable shop"))
@_NAME
def disable(name: str) -> None:
    """Let nobody send under NAME any more, within seconds, in open sessions too.

    What was accepted before still goes out: it was promised with a 250. `sesgate queue pause --credential NAME` keeps
    it back, and `sesgate messages cancel --credential NAME` gives it up.
    """
    with opened_stores(load_settings()) as stores:
        changed = stores.credentials.disable(name, actor=actor())
        credentials = stores.credentials.all()
    if not changed:
        click.echo(f"{name} was disabled already; nothing was changed.")
        return
    click.echo(f"Nobody can send under {name} any more. What was accepted before still goes out.")
    for sentence in _taken_over(credentials, name):
        click.echo(sentence, err=True)


@command.command(epilog=example("sesgate credentials enable shop"))
@_NAME
def enable(name: str) -> None:
    """Let NAME send again. A credential that is held stays held: see `sesgate queue resume --credential NAME`."""
    with opened_stores(load_settings()) as stores:
        changed = stores.credentials.enable(name, actor=actor())
        standing = _standing(stores, name)
    click.echo(f"{name} may send again." if changed else f"{name} was enabled already; nothing was changed.")
    if standing.held_at is not None:
        click.echo(
            f"It is held ({standing.held_reason}): its mail is accepted and waits until"
            f" `sesgate queue resume --credential {name}`.",
            err=True,
        )


@command.command(epilog=example("sesgate credentials remove shop"))
@_NAME
def remove(name: str) -> None:
    """Forget NAME. Only while no mail of it is kept: disable it until then."""
    with opened_stores(load_settings()) as stores:
        stores.credentials.remove(name, actor=actor())
    click.echo(f"{name} is removed.")


def _asked(work: Callable[[], Any]) -> Any:
    """UsageError for what was typed wrongly."""
    try:
        return work()
    except CredentialError as error:
        raise UsageError(str(error)) from None


def _standing(stores: Stores, name: str) -> Standing:
    for standing in stores.credentials.standings():
        if standing.credential.name == name:
            return standing
    raise CommandError(f"There is no credential {name!r}; `sesgate credentials list` shows all.")


def _hand_over(secret: str, sentence: str) -> None:
    """The secret alone where a pipe reads, and what it is where a person does."""
    click.echo(sentence, err=True)
    click.echo(secret)


def _spoken_networks(credential: Credential) -> str:
    return ", ".join(map(str, credential.networks))


def _warn_of_public_networks(credential: Credential) -> None:
    public = [str(one) for one in credential.networks if one.is_global]
    if public:
        click.echo(
            f"Everybody in {', '.join(public)} can send without a secret; make sure that it is all yours.", err=True
        )


def _taken_over(credentials: list[Credential], name: str) -> list[str]:
    """Machines of a disabled credential that are let in by another one's wider network."""
    mine = next((one for one in credentials if one.name == name), None)
    found = []
    for one in mine.networks if mine else ():
        other = by_network(credentials, one.network_address)
        if other is not None:
            found.append(f"Clients in {one} now send under {other.name}, whose networks they are in, too.")
    return found
