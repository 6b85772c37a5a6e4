"""How long a list takes to be imported, what it keeps others from, and what RCPT costs over many suppressions.

`python -m benchmarks.suppressions` prints the tables of docs/suppression.md.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.machine import described, forget_cached
from gateway.addresses import Mailbox, parse_mailbox
from gateway.cli.progress import bar
from gateway.settings import Settings
from gateway.store.gate import WriteGate
from gateway.store.schema import migrate
from gateway.store.sql import Sql
from gateway.store.sqlite import SqliteDatabase
from gateway.store.stores import Stores, open_stores
from tests.support.environment import own_environment
from tests.support.postgres import Postgres, running_postgres

CREDENTIAL = "shop"
# Bytes on disk for a row, at most: in the file or staged, in the table, its index, and the log of the database.
_ROOM_FOR_IMPORT = 3000
_ROOM_FOR_LOOK_UP = 1500
_DOMAINS = 1000
_FILL_BATCH = 100_000
_LOOK_UPS = {"cold": 2_000, "warm": 20_000}
_PRIME = 1_000_003  # steps through any other number of rows in an order that no index has
_BETWEEN = 0.002  # seconds between two tries of the competing writer


@dataclass(frozen=True, slots=True)
class Place:
    """A migrated database: the settings that name it, how it is called, and how its caches are emptied."""

    name: str
    settings: Settings
    forget: Callable[[], None]

    @property
    def environ(self) -> dict[str, str]:
        return {"SESGATE_DATA_DIR": str(self.settings.data_dir), "SESGATE_DATABASE_URL": self.settings.database}


@click.command()
@click.option("--rows", type=click.IntRange(100), default=10_000_000, show_default=True, help="Asked at RCPT.")
@click.option("--import-rows", type=click.IntRange(100), default=1_000_000, show_default=True, help="Imported.")
@click.option("--directory", type=click.Path(file_okay=False, exists=True, path_type=Path), help="For temporary files.")
def main(rows: int, import_rows: int, directory: Path | None) -> None:
    """Measure imports and look-ups over SQLite and, if it is installed, PostgreSQL."""
    machine = described()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sesgate-bench-", dir=directory)))
        _require_room(work, import_rows * _ROOM_FOR_IMPORT, rows * _ROOM_FOR_LOOK_UP)
        server = _postgres(stack)
        imports = [_imports(place, work, import_rows) for place in _places(work, server, "imports")]
        _print_imports([one for several in imports for one in several], import_rows)
        for place in _places(work, server, "look-ups"):
            _print_look_ups(place, _look_ups(place, rows), rows)
        versions = () if server is None else (f"PostgreSQL {server.sql('SHOW server_version')}",)
    click.echo("\n".join((f"Measured on {machine}", *versions)))


def _require_room(work: Path, *needed: int) -> None:
    free, most = shutil.disk_usage(work).free, max(needed)
    if free < most:
        raise click.ClickException(
            f"{work.parent} has {free / 1024**3:.1f} GiB free, and {most / 1024**3:.1f} GiB may be needed: name another"
            " place with --directory, or fewer rows."
        )


def _postgres(stack: ExitStack) -> Postgres | None:
    try:
        return stack.enter_context(running_postgres())
    except BaseException as error:
        if type(error).__name__ not in {"Skipped", "Failed"}:
            raise
        click.echo("PostgreSQL is not installed and is left out.", err=True)
        return None


def _places(work: Path, server: Postgres | None, purpose: str) -> Iterator[Place]:
    """One at a time, and each is gone before the next."""
    directory = work / purpose
    directory.mkdir(mode=0o700)
    settings = Settings(data_dir=directory)
    migrate(settings.database, "sandbox")
    yield Place("SQLite", settings, lambda: forget_cached(directory))
    if server is not None:
        name = server.new_database()
        settings = Settings(data_dir=directory, database_url=server.url(name))
        migrate(settings.database, "sandbox")
        yield Place("PostgreSQL", settings, lambda: _restart(server))
        server.drop(name)
    shutil.rmtree(directory)


def _restart(server: Postgres) -> None:
    server.stop()
    forget_cached(server.directory)
    server.start()


# Imports


@dataclass(frozen=True, slots=True)
class Import:
    """One run of the command. `waited` is the longest time at the write gate, where the database has one."""

    database: str
    what: str
    seconds: float
    resident: int
    waited: float | None


def _imports(place: Place, work: Path, rows: int) -> list[Import]:
    file = work / "list.csv"
    found = []
    for what, reason in (("new", "bounce"), ("there already", "bounce"), ("changed", "complaint")):
        with bar("Writing the list", rows) as advance:
            _write_list(file, rows, reason, advance)
        click.echo(f"{place.name}: importing {rows} entries, {what}", err=True)
        found.append(_import(place, file, rows, what))
    file.unlink()
    return found


def _write_list(file: Path, rows: int, reason: str, advance: Callable[[int], None]) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            stream.write(f"{_address(number * _PRIME % rows)},{reason}\n")
            if number % 10_000 == 0:
                advance(10_000)


def _address(number: int) -> str:
    return f"user{number:08}@d{number % _DOMAINS:03}.example"


def _import(place: Place, file: Path, rows: int, what: str) -> Import:
    """Through the command itself, with a writer at the gate all the while."""
    with _competitor(place) as waits:
        begun = time.perf_counter()
        summary, resident = _command(place, "suppressions", "import", str(file), "--json")
        seconds = time.perf_counter() - begun
    key = {"new": "new", "there already": "known", "changed": "changed"}[what]
    if summary[key] != rows:
        raise click.ClickException(f"Of {rows} entries {summary[key]} were {what}.")
    return Import(place.name, what, seconds, resident, max(waits, default=None))


def _command(place: Place, *arguments: str) -> tuple[dict[str, int], int]:
    """What it printed, and the most memory it had, in bytes."""
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-m", "gateway.cli", *arguments]
        process = subprocess.Popen(command, stdout=output, env=own_environment() | place.environ, cwd=_ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise click.ClickException(f"The command failed with {process.returncode}.")
        output.seek(0)
        summary: dict[str, int] = json.load(output)
    return summary, usage.ru_maxrss * 1024


_ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def _competitor(place: Place) -> Iterator[list[float]]:
    """Waits at the write gate again and again, as the SMTP front does; how long each time."""
    waits: list[float] = []
    if not place.settings.database.startswith("sqlite"):
        yield waits
        return
    done = threading.Event()
    database = open_stores(place.settings)
    path = database.db.path if isinstance(database.db, SqliteDatabase) else Path()
    database.close()
    gate = WriteGate(path.with_name(path.name + "-gate"))

    def compete() -> None:
        while not done.wait(_BETWEEN):
            asked = time.perf_counter()
            with gate.held():
                waits.append(time.perf_counter() - asked)

    thread = threading.Thread(target=compete)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()
        gate.close()


def _print_imports(imports: Sequence[Import], rows: int) -> None:
    click.echo(f"\nImport of {rows:,} addresses in no order:\n")
    click.echo("| database | entries | time | entries/s | peak memory | longest wait at the write gate |")
    click.echo("|---|---|---:|---:|---:|---:|")
    for one in imports:
        waited = "-" if one.waited is None else f"{one.waited * 1000:.0f} ms"
        click.echo(
            f"| {one.database} | {one.what} | {one.seconds:.1f} s | {rows / one.seconds:,.0f} |"
            f" {one.resident / 1024**2:.0f} MiB | {waited} |"
        )


# Look-ups


@dataclass(frozen=True, slots=True)
class LookUps:
    """Times of single look-ups, in microseconds."""

    what: str
    times: Sequence[float]

    def percentile(self, share: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _look_ups(place: Place, rows: int) -> list[LookUps]:
    stores = open_stores(place.settings)
    try:
        _fill(stores, rows, place.name)
    finally:
        stores.close()
    place.forget()
    stores = open_stores(place.settings)
    try:
        found = []
        for state, count in _LOOK_UPS.items():
            for what, mailboxes in (("hits", _hits(rows, count)), ("misses", _misses(rows, count))):
                if state == "warm":
                    _timed(stores, mailboxes)
                found.append(LookUps(f"{state}, {what}", _timed(stores, mailboxes)))
        return found
    finally:
        stores.close()


_FIELDS = "address_key, address, reason, source, detail, since, scope, note, actor, created_at"
_SERIES = {
    "SQLite": "WITH RECURSIVE series(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM series WHERE i < ?)",
    "PostgreSQL": "WITH series AS (SELECT i FROM generate_series(?::bigint, ?::bigint) AS i)",
}
_KEY = {
    "SQLite": f"printf('user%08d@d%03d.example', i, i % {_DOMAINS})",
    "PostgreSQL": f"'user' || lpad(i::text, 8, '0') || '@d' || lpad(mod(i, {_DOMAINS})::text, 3, '0') || '.example'",
}


def _fill(stores: Stores, rows: int, database: str) -> None:
    """In SQL, in the order of the index."""
    key = _KEY[database]
    statement = (
        f"INSERT INTO suppressions ({_FIELDS}) {_SERIES[database]} SELECT {key}, {key}, 'bounce', 'SES',"
        " 'smtp; 550 5.1.1 no such user', 1760000000000000, '', '', 'SES', 1760000000000000 FROM series"
    )
    click.echo(f"{database}: filling in {rows} suppressions", err=True)
    with bar("Filling", rows) as advance:
        for first in range(0, rows, _FILL_BATCH):
            last = min(first + _FILL_BATCH, rows) - 1
            stores.db.submit(_running(statement, first, last)).result()
            advance(last - first + 1)
    stores.db.submit(_running("ANALYZE suppressions")).result()


def _running(statement: str, *values: int) -> Callable[[Sql], int]:
    return lambda sql: sql.run(statement, values)


def _hits(rows: int, count: int) -> list[Mailbox]:
    chosen = random.Random(1)  # noqa: S311  the same ones each time
    return [parse_mailbox(_address(chosen.randrange(rows))) for _ in range(count)]


def _misses(rows: int, count: int) -> list[Mailbox]:
    """Beside those that are there, all over the index."""
    return [Mailbox(f"{mailbox.local_part}x", mailbox.domain) for mailbox in _hits(rows, count)]


def _timed(stores: Stores, mailboxes: Sequence[Mailbox]) -> list[float]:
    times = []
    for mailbox in mailboxes:
        begun = time.perf_counter()
        stores.suppressions.find(mailbox, CREDENTIAL)
        times.append((time.perf_counter() - begun) * 1e6)
    return times


def _print_look_ups(place: Place, look_ups: Sequence[LookUps], rows: int) -> None:
    click.echo(f"\nLook-up at RCPT over {rows:,} suppressions in {place.name}:\n")
    click.echo("| look-ups | number | p50 | p99 |")
    click.echo("|---|---:|---:|---:|")
    for one in look_ups:
        p50, p99 = one.percentile(0.50), one.percentile(0.99)
        click.echo(f"| {one.what} | {len(one.times):,} | {p50:,.0f} µs | {p99:,.0f} µs |")


if __name__ == "__main__":
    main()
