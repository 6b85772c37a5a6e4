"""A copy of a SQLite database, taken while every program goes on, and paused inside."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import peewee

from gateway.store.audit import record
from gateway.store.errors import StoreError
from gateway.store.queue import Pause, find_pause, put_pause, restored_reason
from gateway.store.sql import Sql
from gateway.store.times import from_micros, now_micros

Progress = Callable[[int, int], None]

_PAGES_A_STEP = 1000
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made: where, of which moment, and how large."""

    file: Path
    made_at: datetime
    size: int


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None for another kind of database."""
    scheme, _, rest = url.partition(":")
    if scheme != "sqlite":
        return None
    return Path("/" + rest.lstrip("/")) if rest.startswith("/") else Path(rest)


def back_up(source: Path, target: Path, *, actor: str, progress: Progress) -> Backup:
    """Copy the database as it is at one moment. `progress` is told the pages that are left and how many there are.

    Sending is paused in the copy: whatever waits in it may have been sent by the time it is restored. StoreError when
    the target exists or the copy cannot be made; nothing of it is left behind then.
    """
    with _reserved(target) as partial:
        try:
            _require_room(source, target)
            made_at = _copy(source, partial, progress)
            _check(partial)
            _pause(partial, made_at, actor)
            _fsync(partial)
        except (sqlite3.Error, peewee.PeeweeException) as error:
            raise StoreError(f"The backup could not be made ({error}).") from error
        partial.replace(target)
        _fsync(target.parent)
    return Backup(target, made_at, target.stat().st_size)


@contextmanager
def _reserved(target: Path) -> Iterator[Path]:
    """A private file beside the target, which is taken in the meantime by an empty one."""
    partial = target.with_name(target.name + _PARTIAL)
    try:
        _make_private(target)
    except FileExistsError:
        raise StoreError(f"{target} exists already, and a backup overwrites nothing; give another name.") from None
    try:
        _make_private(partial)
        yield partial
    except FileExistsError:
        target.unlink()
        raise StoreError(f"{partial} exists: another backup to {target} runs, or one was killed; remove it.") from None
    except BaseException:
        for file in (target, *_files(partial)):
            file.unlink(missing_ok=True)
        raise


def _make_private(file: Path) -> None:
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _files(database: Path) -> tuple[Path, ...]:
    return tuple(database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm", "-journal"))


def _require_room(source: Path, target: Path) -> None:
    needed = sum(file.stat().st_size for file in _files(source) if file.exists())
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise StoreError(f"{target.parent} has {free} bytes free, and the backup needs up to {needed}.")


def _copy(source: Path, partial: Path, progress: Progress) -> datetime:
    """The moment of the copy.

    The read transaction around it keeps the snapshot: without it SQLite begins anew whenever another process writes.
    """
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as reading,
        closing(sqlite3.connect(partial)) as writing,
    ):
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        made_at = from_micros(now_micros())
        reading.backup(writing, pages=_PAGES_A_STEP, progress=lambda _, left, total: progress(left, total))
        reading.execute("ROLLBACK")
    return made_at


def _check(partial: Path) -> None:
    with closing(sqlite3.connect(partial)) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"The database is damaged, and so is its copy, which was not kept ({found}).")


def _pause(partial: Path, made_at: datetime, actor: str) -> None:
    """Closing the last connection moves the write-ahead log into the file and removes it."""
    database = peewee.SqliteDatabase(str(partial), pragmas={"synchronous": "full"})
    with closing(database), database.atomic():
        sql = Sql(database)
        standing = find_pause(sql)
        reason = restored_reason(made_at) + (f"; it was paused then: {standing.reason}" if standing else "")
        put_pause(sql, Pause(reason, made_at, actor, made_at))
        record(sql, actor, "backup", "database", "this copy was made, and sending is paused in it")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
