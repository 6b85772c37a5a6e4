"""What `sesgate suppressions import` and `export` have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.errors import CommandError
from gateway.store.stores import Stores
from gateway.suppression_policy import Reason

T = TypeVar("T")

FORMAT = click.option(
    "--format", "form", type=click.Choice(("csv", "jsonl")), help="Without it the file's suffix says so."
)
REASONS = click.Choice([reason.value for reason in Reason])
STANDARD = "-"  # input or output
_BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def format_of(file: str) -> str | None:
    """What the suffix says, if it says something."""
    return _BY_SUFFIX.get(Path(file).suffix.lower())


def require_credential(stores: Stores, name: str | None) -> None:
    if name and stores.credentials.find(name) is None:
        raise CommandError(f"There is no credential {name}.")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    found = iter(items)
    while some := list(islice(found, size)):
        yield some


def count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"
