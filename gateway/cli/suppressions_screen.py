"""How suppressions read: the list, and everything about one address."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from gateway.cli.output import show_pairs, show_table, spoken_time
from gateway.store.suppression_rows import Ended, Suppression
from gateway.subjects import Subject

_EVERYBODY = "all credentials"
_NEVER = "for ever"


@dataclass(frozen=True, slots=True)
class Look:
    """Everything about an address: the entries in force about it and its domain, and what there was once."""

    address: str
    in_force: Sequence[Suppression]
    past: Sequence[Ended]


def show_list(found: Iterable[Suppression]) -> None:
    show_table(("ADDRESS", "REASON", "SINCE", "UNTIL", "FOR", "SOURCE", "DETAIL"), map(_row, found))


def _row(one: Suppression) -> tuple[str, ...]:
    said = one.note or one.detail
    return (one.address, one.reason, spoken_time(one.since), _until(one), one.scope or _EVERYBODY, one.source, said)


def show_look(look: Look) -> None:
    for number, entry in enumerate(look.in_force):
        if number:
            click.echo()
        show_pairs(_pairs(entry))
    if look.past:
        click.echo("\nIn the past:" if look.in_force else "In the past:")
        show_table(("ADDRESS", "REASON", "SINCE", "ENDED", "FOR", "BY", "WHY"), map(_past_row, look.past))


def _pairs(entry: Suppression) -> Iterable[tuple[str, str]]:
    yield "address", f"{entry.address} (everybody at this domain)" if entry.is_domain else entry.address
    yield "reason", entry.reason
    yield "for", entry.scope or _EVERYBODY
    yield "since", spoken_time(entry.since)
    yield "until", _until(entry)
    yield "source", entry.source or "-"
    yield "detail", entry.detail or "-"
    yield "note", entry.note or "-"
    yield "by", entry.actor or "-"
    yield "recorded", "-" if entry.created_at is None else spoken_time(entry.created_at)
    yield "event", "-" if entry.event_id is None else str(entry.event_id)


def _past_row(ended: Ended) -> tuple[str, ...]:
    was = ended.suppression
    since, at = spoken_time(was.since), spoken_time(ended.ended_at)
    return (was.address, was.reason, since, at, was.scope or _EVERYBODY, ended.ended_by or "-", ended.ended_why)


def _until(entry: Suppression) -> str:
    return _NEVER if entry.expires_at is None else spoken_time(entry.expires_at)


def spoken(subject: Subject, scope: str = "") -> str:
    """Who is meant, in a sentence."""
    whole = " (everybody there)" if subject.is_domain else ""
    only = f" for {scope}" if scope else ""
    return f"{subject}{whole}{only}"


def spoken_reason(entry: Suppression) -> str:
    until = "" if entry.expires_at is None else f", until {spoken_time(entry.expires_at)}"
    return f"{entry.reason}, since {entry.since:%Y-%m-%d}{until}"


def spoken_removal(entry: Suppression) -> str:
    """The command that lifts this entry. An address may hold what a shell reads as more than text: o'brien, `id`."""
    scope = f" --credential {shlex.quote(entry.scope)}" if entry.scope else ""
    return f'sesgate suppressions remove {shlex.quote(entry.address)}{scope} --reason "..."'


def typed(entry: Suppression) -> str:
    """What `--after` takes to go on behind this entry: its key, for SES reports addresses that are none."""
    return shlex.quote(entry.key)


def in_force(entries: Iterable[Suppression], now: datetime) -> list[Suppression]:
    return [entry for entry in entries if entry.is_in_force(now)]
