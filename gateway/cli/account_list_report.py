"""How the drift between our suppressions and SES's list is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import click

from gateway.cli.output import printable
from gateway.suppression_drift import AccountSide, Drift, Kind

_WORDS: Mapping[Kind, str] = {
    Kind.IN_STEP: "in step",
    Kind.ONLY_AT_SES: "only at SES (pull suppresses them here)",
    Kind.STRONGER_AT_SES: "a stronger reason at SES than here (pull takes it over)",
    Kind.LIFTED_HERE: "lifted here, and still blocked by SES (push lifts them there)",
    Kind.ONLY_HERE: "only here (push lists them at SES)",
    Kind.STRONGER_HERE: "a complaint here, a bounce at SES (push tells SES)",
    Kind.BY_HAND: "only here, by hand or unsubscribed (push --all-reasons lists them at SES)",
    Kind.TEMPORARY: "only here, and for a while (not for SES, where nothing ends by itself)",
    Kind.OUTLIVED: "only at SES, for longer than their reason lasts here (left alone)",
    Kind.UNMAILABLE: "at SES, but nothing that could be mailed from here (left alone)",
    Kind.DOMAIN: "whole domains (SES lists addresses only)",
    Kind.SCOPED: "for one credential only (SES knows no credentials)",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a script reads. `counts` has every kind, `examples` up to twenty addresses of those that differ."""

    at_ses: int
    spelled_several_times: int
    counts: dict[str, int]
    examples: dict[str, list[str]]
    to_do: int
    done: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    dry_run: bool = False
    interrupted: bool = False


def report_of(at_ses: AccountSide, drift: Drift, *, to_do: int, dry_run: bool) -> Report:
    return Report(
        at_ses=at_ses.addresses,
        spelled_several_times=at_ses.spelled_several_times,
        counts={kind.value: drift.counts[kind] for kind in Kind},
        examples={kind.value: addresses for kind, addresses in drift.examples.items()},
        to_do=to_do,
        dry_run=dry_run,
    )


def show_report(report: Report) -> None:
    click.echo(f"SES lists {addresses(report.at_ses)}.")
    if report.spelled_several_times:
        click.echo(f"It has {addresses(report.spelled_several_times)} in several spellings, which count as one here.")
    for line in _lines(report):
        click.echo(printable(line))


def _lines(report: Report) -> Iterator[str]:
    shown = [kind for kind in _WORDS if report.counts[kind]]
    width = max((len(f"{report.counts[kind]:,}") for kind in shown), default=0)
    for kind in shown:
        yield f"{report.counts[kind]:>{width},}  {_WORDS[kind]}"
        if kind in report.examples:
            yield f"{'':{width}}    {named(report.examples[kind], report.counts[kind])}"


def named(examples: list[str], total: int) -> str:
    more = total - len(examples)
    return ", ".join(examples) + (f" and {more:,} more" if more > 0 else "")


def addresses(count: int) -> str:
    return "1 address" if count == 1 else f"{count:,} addresses"


def spoken_estimate(seconds: float) -> str:
    """How long it will take, no more exactly than anybody knows."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"about {round(seconds / size)} {unit}"
    return f"about {max(1, round(seconds))} seconds" if seconds > 1 else "about a second"
