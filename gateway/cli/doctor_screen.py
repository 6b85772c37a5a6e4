"""`sesgate doctor` for people: a line for each check, the fix below it, and what it comes to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import click

from gateway.cli.output import printable
from gateway.findings import Finding, Level

_MARKS: Final = {Level.OK: "ok", Level.WARNING: "warning", Level.FAILED: "FAILED", Level.SKIPPED: "skipped"}
_COLOURS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red", Level.SKIPPED: "bright_black"}
_WIDTH: Final = max(map(len, _MARKS.values()))


def show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        _echo(f"{_mark(finding.level)}  {click.style(printable(finding.check), bold=True)}: {printable(finding.seen)}")
        if finding.fix:
            _echo(f"{'':{_WIDTH}}  -> {printable(finding.fix)}")
    _echo(f"\n{summary(findings)}")


def _mark(level: Level) -> str:
    return click.style(f"{_MARKS[level]:<{_WIDTH}}", fg=_COLOURS[level])


def _echo(text: str) -> None:
    click.echo(text, color=False if "NO_COLOR" in os.environ else None)  # None: click looks whether a terminal is there


def summary(findings: Sequence[Finding]) -> str:
    """What is broken, by name, and how many others there are of each kind."""
    count = {level: sum(finding.level is level for finding in findings) for level in Level}
    others = ", ".join(f"{count[level]} {_MARKS[level]}" for level in (Level.OK, Level.WARNING, Level.SKIPPED))
    broken = [finding.check for finding in findings if finding.level is Level.FAILED]
    if not broken:
        return f"Nothing is broken ({others})."
    return f"Broken: {', '.join(map(printable, broken))} ({others})."
