"""`sesgate suppressions import`: a list of suppressions, of any size, in whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click

from gateway.bounded_lines import FileError
from gateway.cli.context import actor, load_settings, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import printable, show_json
from gateway.cli.progress import bar, ending_between_steps
from gateway.cli.suppression_lists import FORMAT, REASONS, STANDARD, batches, count, format_of, require_credential
from gateway.store.errors import StoreError
from gateway.store.sorting import SortedEntries
from gateway.store.stores import Stores
from gateway.store.suppression_imports import STAGE_BATCH, Progress
from gateway.suppression_files import (
    BadRow,
    Defaults,
    Entry,
    Row,
    read_csv,
    read_json_lines,
)
from gateway.suppression_policy import Policy, Reason

_MOST_TOLD = 20
_AT_ONCE = 1000
_NOTHING = "nothing was imported"
_NOTHING_DONE = Progress(rows=0, carried=0, added=0, changed=0)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a script reads. `repeated` rows name again what another row names, `expired` ones were over already."""

    file: str
    read: int
    bad: int
    repeated: int
    expired: int
    new: int
    changed: int
    known: int
    dry_run: bool


@dataclass(slots=True)
class _Read:
    """What a file turned out to hold."""

    rows: int = 0
    bad: int = 0
    expired: int = 0


@click.command(
    "import",
    epilog=example(
        "sesgate suppressions import old-provider.csv --reason unsubscribe",
        "sesgate suppressions import list.jsonl --dry-run",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@FORMAT
@click.option("--reason", type=REASONS, default="manual", show_default=True, help="Of rows that give none.")
@click.option("--note", default="", metavar="TEXT", help="Of rows that have none.")
@click.option("--credential", "scope", metavar="NAME", default="", help="Rows that name none are for this one alone.")
@click.option("--skip-bad", is_flag=True, help="Import the rest when rows are bad.")
@click.option("--dry-run", is_flag=True, help="Only read and check the file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_(
    file: str,
    form: str | None,
    reason: str,
    note: str,
    scope: str,
    *,
    skip_bad: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Suppress what FILE lists (- for standard input): all of it, or nothing.

    CSV has a header of address, reason, scope, source, detail, note, since and expires in any order, or none and then
    an address and perhaps a reason in each row; JSON lines have the same names. SES's own lists are read too. A domain
    is written @example.com. What stands already is changed only by a stronger reason, or one that holds longer, so it
    is safe to import a file again.
    """
    read_rows = _READERS[_format(form, file)]
    settings, now = load_settings(), datetime.now(UTC)
    defaults = Defaults(now, Policy.from_settings(settings).expires, Reason(reason), scope, note)
    with opened_stores(settings) as stores, SortedEntries() as in_order:
        require_credential(stores, scope)
        strange = _Scopes(stores)
        with _opened(file) as (stream, size), _nothing_imported(), bar("Reading", size) as advance:
            read = _read(read_rows(stream, defaults), now, in_order, strange, _by_place(stream, size, advance))
        _judge(read, skip_bad=skip_bad)
        done = _NOTHING_DONE if dry_run or not in_order.added else _import(stores, in_order, _name(file))
    repeated = 0 if dry_run else read.rows - read.bad - read.expired - done.rows
    _show(
        Summary(
            _name(file), read.rows, read.bad, repeated, read.expired, done.added, done.changed, done.known, dry_run
        ),
        as_json=as_json,
    )
    strange.warn()


_READERS: dict[str, Callable[[BinaryIO, Defaults], Iterator[Row | BadRow]]] = {
    "csv": read_csv,
    "jsonl": read_json_lines,
}


def _format(form: str | None, file: str) -> str:
    found = form or format_of(file)
    if found is None:
        what = "Standard input has no name" if file == STANDARD else f"The name of {file} does not tell its format"
        raise UsageError(f"{what}: add --format csv or --format jsonl.")
    return found


def _name(file: str) -> str:
    return "standard input" if file == STANDARD else printable(Path(file).name)


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file and its size, which standard input has not."""
    if file == STANDARD:
        yield sys.stdin.buffer, None
        return
    with Path(file).open("rb") as stream:
        yield stream, os.fstat(stream.fileno()).st_size or None


def _by_place(stream: BinaryIO, size: int | None, advance: Callable[[int], None]) -> Callable[[], None]:
    """Call what it gives now and then: it moves the bar to where the reading is."""
    place = 0

    def move() -> None:
        nonlocal place
        if size is not None and stream.seekable():
            before, place = place, stream.tell()
            advance(place - before)

    return move


@contextmanager
def _nothing_imported() -> Iterator[None]:
    """Until the first row is stored, an end is an end at once."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError(f"Interrupted; {_NOTHING}.") from None
    except FileError as error:
        raise CommandError(f"{str(error).rstrip('.')}; {_NOTHING}.") from None


def _read(
    rows: Iterable[Row | BadRow],
    now: datetime,
    in_order: SortedEntries,
    strange: _Scopes,
    move: Callable[[], None],
) -> _Read:
    """Tells of bad rows as they come."""
    read = _Read()
    for some in batches(rows, _AT_ONCE):
        good = [row for row in some if isinstance(row, Row)]
        valid = [row for row in good if row.entry.expires is None or row.entry.expires > now]
        _tell((row for row in some if isinstance(row, BadRow)), read.bad)
        read.rows += len(some)
        read.bad += len(some) - len(good)
        read.expired += len(good) - len(valid)
        strange.note(valid)
        in_order.add(valid)
        move()
    return read


def _tell(bad: Iterable[BadRow], before: int) -> None:
    for row in islice(bad, max(0, _MOST_TOLD - before)):
        click.echo(f"line {row.line}: {row.why}", err=True)


def _judge(read: _Read, *, skip_bad: bool) -> None:
    if not read.bad:
        return
    more = f", of which the first {_MOST_TOLD} are shown" if read.bad > _MOST_TOLD else ""
    told = f"{count(read.bad, 'bad row')} of {read.rows}{more}"
    if not skip_bad:
        raise CommandError(f"{told}; {_NOTHING}. Mend them, or add --skip-bad to import the others.")
    click.echo(f"{told}; left out.", err=True)


def _import(stores: Stores, in_order: SortedEntries, name: str) -> Progress:
    """CommandError when it ends before its end; the text says how far it came."""
    with ending_between_steps() as ended:
        import_id = stores.imports.begin(name, actor())
        try:
            with bar("Storing", in_order.added) as advance:
                rows = _stage(stores, import_id, in_order, advance, ended)
            stores.imports.make_ready(import_id, rows)
        except (StoreError, CommandError):
            _discard(stores, import_id)
            raise
        with bar("Importing", rows) as advance:
            return _carry_out(stores, import_id, rows, advance, ended)


def _stage(
    stores: Stores,
    import_id: int,
    in_order: Iterable[tuple[str, Entry]],
    advance: Callable[[int], None],
    ended: Callable[[], bool],
) -> int:
    """The number of rows, which is less than was read when some name the same."""
    rows = 0
    for some in batches(in_order, STAGE_BATCH):
        if ended():
            raise CommandError(f"Interrupted; {_NOTHING}.")
        stores.imports.stage(import_id, rows + 1, some)
        rows += len(some)
        advance(len(some))
    return rows


def _discard(stores: Stores, import_id: int) -> None:
    """What is left if this fails is cleared away by the workers."""
    try:
        stores.imports.discard(import_id)
    except StoreError as error:
        click.echo(f"{error} The workers clear away what was stored.", err=True)


def _carry_out(
    stores: Stores, import_id: int, rows: int, advance: Callable[[int], None], ended: Callable[[], bool]
) -> Progress:
    progress = Progress(rows, 0, 0, 0)
    while not progress.is_done:
        so_far = f"{progress.carried} of {count(rows, 'entry')} imported; the workers import the rest"
        if ended():
            raise CommandError(f"Interrupted: {so_far}.")
        try:
            further = stores.imports.carry_out_one(import_id)
        except StoreError as error:
            raise CommandError(f"{error} At least {so_far}.") from error
        advance(further.carried - progress.carried)
        progress = further
    return progress


def _show(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        show_json(summary)
        return
    less = ((summary.bad, "bad"), (summary.repeated, "repeated"), (summary.expired, "expired"))
    left_out = ", ".join(f"{number} {what}" for number, what in less if number)
    read = f"{count(summary.read, 'row')} read{left_out and f' ({left_out})'}"
    if summary.dry_run:
        click.echo(f"{read}; {_NOTHING}.")
    else:
        click.echo(f"{read}: {summary.new} new, {summary.changed} changed, {summary.known} were there already.")


class _Scopes:
    """The credentials that rows are for, and whether they are there: the rows of others do nothing yet."""

    def __init__(self, stores: Stores) -> None:
        self._credentials = stores.credentials
        self._known = {""}
        self._strange: set[str] = set()

    def note(self, rows: Iterable[Row]) -> None:
        for name in {row.entry.scope for row in rows} - self._known - self._strange:
            if self._credentials.find(name) is not None:
                self._known.add(name)
            elif len(self._strange) <= _MOST_TOLD:
                self._strange.add(name)

    def warn(self) -> None:
        if not self._strange:
            return
        names = ", ".join(sorted(self._strange)[:_MOST_TOLD])
        more = " and others" if len(self._strange) > _MOST_TOLD else ""
        click.echo(f"Some entries are for credentials that are not here: {names}{more}.", err=True)
