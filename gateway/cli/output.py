"""What commands print: tables for people, tab-separated lines for pipes, JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_json(value: object) -> None:
    """A dataclass, or a list of them, with times in ISO 8601."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


# What is copied or compared as a whole stays on one line.
_UNBROKEN = frozenset({"ID", "STATUS", "REASON", "TIME"})


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """With a frame and folded cells on a terminal; else one line a row, cells parted by tabs, under a line of names."""
    safe = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (columns, *safe):
            click.echo("\t".join(row))
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column in _UNBROKEN, overflow="fold")
    for row in safe:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(table)


def show_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {printable(value)}".rstrip())


def printable(text: str) -> str:
    """A subject or a diagnostic comes from strangers: none of its control characters reaches the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def spoken_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def spoken_length(length: timedelta) -> str:
    """In the largest unit of which there are at least two."""
    seconds = round(max(0.0, length.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def counted(recipients: int) -> str:
    return "1 recipient" if recipients == 1 else f"{recipients} recipients"


def plain(value: object) -> Any:
    """A value as JSON can hold it: a dataclass becomes an object, a time its ISO 8601 text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value
