"""The schema: migrations, the stamp, and the refusal of a schema that this release does not know."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import peewee
from playhouse.migrations import MigrationError, Runner

from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.opening import open_database
from gateway.store.sql import Sql
from gateway.store.times import now_micros

Stamp = Literal["sandbox", "aws"]

_DIRECTORY = Path(__file__).with_name("migrations")
_AWS_DOMAINS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
    ".csp.hci.ic.gov",
    ".cloud.adc-e.uk",
)
_HISTORY = "schema_migrations"
_STAMP_KEY = "stamp"


def migrate(url: str, stamp: Stamp) -> list[str]:
    """Create or upgrade the schema, and stamp a new database; the names of the migrations that were applied.

    One migration runs at a time in the whole installation. StoreError when the stamp is another one, or when the
    database was written by a newer release.
    """
    database = open_database(url, gate_timeout=60)
    try:
        database.create()
        with database.exclusive() as connection:
            _refuse_newer(connection)
            applied = Runner(connection, str(_DIRECTORY), table_name=_HISTORY).up()
            with database.transaction():
                _put_stamp(connection, stamp)
    except (MigrationError, peewee.PeeweeException, sqlite3.Error, OSError) as error:
        raise StoreError(f"The database could not be migrated ({error}).") from error
    finally:
        database.close()
    return [str(name) for name in applied]


def check_schema(database: Database) -> None:
    """StoreError unless the schema is exactly the one that this release works with."""
    if database.exists:
        with database.read():
            _refuse_newer(database.peewee)
            if _known() <= _applied(database.peewee):
                return
    raise StoreError("The database is not set up for this release; run `sesgate migrate` first.")


def read_stamp(database: Database) -> Stamp:
    """Which AWS the mail in this database is meant for."""
    with database.read() as sql:
        value = sql.value("SELECT value FROM control WHERE key = ?", (_STAMP_KEY,))
    return "sandbox" if value == "sandbox" else "aws"


def stamp_of_environment(environ: Mapping[str, str]) -> Stamp:
    """Which stamp the endpoint of SES asks for: `aws` for AWS's own hosts, `sandbox` for every other one."""
    endpoint = environ.get("AWS_ENDPOINT_URL_SESV2") or environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return "aws"
    host = urlsplit(endpoint).hostname or ""
    return "aws" if host.endswith(_AWS_DOMAINS) else "sandbox"


def require_stamp(database: Database, wanted: Stamp) -> None:
    """StoreError when mail that was accepted for the simulation could be sent for real, or the reverse."""
    found = read_stamp(database)
    if found == wanted:
        return
    if found == "sandbox":
        raise StoreError(
            "This data was accepted for the simulated AWS and is never sent for real;"
            " use --sandbox, or another SESGATE_DATA_DIR."
        )
    raise StoreError(
        "This data belongs to a real AWS account and takes no part in a simulation;"
        " leave out --sandbox and AWS_ENDPOINT_URL, or use another SESGATE_DATA_DIR."
    )


def _known() -> set[str]:
    return {file.stem for file in _DIRECTORY.glob("[0-9]*.py")}


def _applied(connection: peewee.Database) -> set[str]:
    if not connection.table_exists(_HISTORY):
        return set()
    rows = connection.execute_sql(f"SELECT name FROM {_HISTORY}").fetchall()
    return {str(name) for (name,) in rows}


def _refuse_newer(connection: peewee.Database) -> None:
    unknown = _applied(connection) - _known()
    if unknown:
        raise StoreError(
            f"The database was written by a newer release ({', '.join(sorted(unknown))} is unknown here);"
            " run that release, or restore the backup made before the upgrade."
        )


def _put_stamp(connection: peewee.Database, stamp: Stamp) -> None:
    sql = Sql(connection)
    found = sql.value("SELECT value FROM control WHERE key = ?", (_STAMP_KEY,))
    if found is None:
        sql.run(
            "INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES (?, ?, '', 0, 0, ?)",
            (_STAMP_KEY, stamp, now_micros()),
        )
    elif found != stamp:
        raise StoreError(
            f"The database is stamped for {_spoken(found)}, not for {_spoken(stamp)};"
            " mail of the one is never sent through the other."
            " Use another SESGATE_DATA_DIR or SESGATE_DATABASE_URL."
        )


def _spoken(stamp: str) -> str:
    return "the simulated AWS" if stamp == "sandbox" else "a real AWS account"
