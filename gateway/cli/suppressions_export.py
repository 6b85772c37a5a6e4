"""`sesgate suppressions export`: what is suppressed, as a file that `import` reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from gateway.cli.context import load_settings, opened_stores
from gateway.cli.help import example
from gateway.cli.progress import bar
from gateway.cli.suppression_lists import FORMAT, REASONS, STANDARD, count, format_of, require_credential
from gateway.cli.whole_files import replacing
from gateway.store.stores import Stores
from gateway.store.suppression_rows import Suppression
from gateway.suppression_files import Entry, csv_header, csv_text, json_text

_AT_ONCE = 1000
_TEXTS: dict[str, Callable[[Iterable[Entry]], str]] = {"csv": csv_text, "jsonl": json_text}


@click.command(epilog=example("sesgate suppressions export --output suppressions.csv"))
@FORMAT
@click.option("--output", metavar="FILE", default=STANDARD, help="Write to FILE, which only this user can read.")
@click.option("--reason", type=REASONS, help="Only those suppressed for this reason.")
@click.option("--credential", "scope", metavar="NAME", help="Only what is for this credential alone.")
def export(form: str | None, output: str, reason: str | None, scope: str | None) -> None:
    """Write what is suppressed as CSV or JSON lines, in the order of the addresses, for `import` to read.

    FILE is replaced when everything is written, and not before.
    """
    form = form or format_of(output) or "csv"
    with opened_stores(load_settings()) as stores:
        require_credential(stores, scope)
        with _writing(output) as stream, bar("Exporting", None) as advance:
            entries = _export(_pages(stores, scope), reason, form, stream, advance)
    if output != STANDARD:
        click.echo(f"{count(entries, 'entry')} in {output}.")


def _export(
    pages: Iterable[list[Suppression]], reason: str | None, form: str, stream: IO[bytes], advance: Callable[[int], None]
) -> int:
    """The number of entries. They are chosen here: the database would read on and on for a rare reason."""
    written, text = 0, _TEXTS[form]
    if form == "csv":
        stream.write(csv_header().encode())
    for page in pages:
        entries = [_entry(one) for one in page if reason is None or one.reason == reason]
        stream.write(text(entries).encode())
        written += len(entries)
        advance(len(page))
    return written


def _pages(stores: Stores, scope: str | None) -> Iterator[list[Suppression]]:
    """Each is a read of its own: a long one would keep the database's log from being moved away."""
    after = ""
    while page := stores.suppressions.list(limit=_AT_ONCE, after=after, scope=scope):
        yield page
        after = page[-1].key


def _entry(one: Suppression) -> Entry:
    return Entry(one.address, one.reason, one.scope, one.source, one.detail, one.note, one.since, one.expires_at)


@contextmanager
def _writing(output: str) -> Iterator[IO[bytes]]:
    """Standard output, or a file that is there when all is on stable storage."""
    if output == STANDARD:
        yield sys.stdout.buffer
        return
    with replacing(Path(output)) as stream:
        yield stream
