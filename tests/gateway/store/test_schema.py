from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import peewee
import pytest

from gateway.settings import Settings
from gateway.store import models
from gateway.store.errors import StoreError
from gateway.store.schema import migrate, read_stamp, require_stamp, stamp_of_environment
from gateway.store.stores import open_stores
from tests.support.stores import sqlite_settings, sqlite_stores

SQLITE_ONLY = True


def url(directory: Path) -> str:
    return sqlite_settings(directory).database


def test_a_second_migration_changes_nothing(tmp_path):
    assert migrate(url(tmp_path), "sandbox") == [
        "0001_initial",
        "0002_evidence_and_reputation",
        "0003_credentials",
        "0004_feedback_and_suppression",
        "0005_bounded_looks",
        "0006_written_side_by_side",
    ]
    assert migrate(url(tmp_path), "sandbox") == []


def test_the_first_migration_stamps_for_good(tmp_path):
    migrate(url(tmp_path), "sandbox")
    with pytest.raises(StoreError, match="stamped for the simulated AWS, not for a real AWS account"):
        migrate(url(tmp_path), "aws")
    stores = open_stores(sqlite_settings(tmp_path))
    assert read_stamp(stores.db) == "sandbox"
    stores.close()


@pytest.mark.parametrize(
    ("stamped", "wanted", "reason"),
    [("sandbox", "aws", "never sent for real"), ("aws", "sandbox", "belongs to a real AWS account")],
)
def test_a_stamp_refuses_the_other_endpoint(tmp_path, stamped, wanted, reason):
    migrate(url(tmp_path), stamped)
    stores = open_stores(sqlite_settings(tmp_path))
    require_stamp(stores.db, stamped)
    with pytest.raises(StoreError, match=reason):
        require_stamp(stores.db, wanted)
    stores.close()


@pytest.mark.parametrize(
    ("environ", "stamp"),
    [
        ({}, "aws"),
        ({"AWS_ENDPOINT_URL": ""}, "aws"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, "sandbox"),
        ({"AWS_ENDPOINT_URL": "https://email.eu-west-1.amazonaws.com"}, "aws"),
        ({"AWS_ENDPOINT_URL": "https://email.eu-west-1.amazonaws.com.example.org"}, "sandbox"),
        ({"AWS_ENDPOINT_URL": "https://notamazonaws.com"}, "sandbox"),
        ({"AWS_ENDPOINT_URL_SESV2": "https://vpce-1.email.eu-west-1.vpce.amazonaws.com"}, "aws"),
        # The service's own URL is the one that boto3 uses.
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_ENDPOINT_URL_SESV2": "https://email.us-east-1.api.aws"},
            "aws",
        ),
    ],
)
def test_the_endpoint_of_ses_says_which_stamp_is_asked_for(environ, stamp):
    assert stamp_of_environment(environ) == stamp


def test_a_database_without_a_schema_asks_for_migrate(tmp_path):
    with pytest.raises(StoreError, match="run `sesgate migrate` first"):
        open_stores(sqlite_settings(tmp_path))
    assert not (tmp_path / "sesgate.db").exists()


def test_a_schema_of_a_newer_release_is_refused(tmp_path):
    migrate(url(tmp_path), "sandbox")
    with sqlite3.connect(tmp_path / "sesgate.db") as connection:
        connection.execute("INSERT INTO schema_migrations (name, applied) VALUES ('0999_later', '2031-01-01')")
    connection.close()
    for attempt in (lambda: open_stores(sqlite_settings(tmp_path)), lambda: migrate(url(tmp_path), "sandbox")):
        with pytest.raises(StoreError, match="0999_later is unknown here"):
            attempt()


def test_two_migrations_at_once_both_end_well(tmp_path):
    program = "import sys; from gateway.store.schema import migrate;print(len(migrate(sys.argv[1], 'sandbox')))"
    started = [
        subprocess.Popen([sys.executable, "-c", program, url(tmp_path)], stdout=subprocess.PIPE) for _ in range(4)
    ]
    applied = [int(process.communicate(timeout=60)[0]) for process in started]
    assert sorted(applied) == [0, 0, 0, 6]
    open_stores(sqlite_settings(tmp_path)).close()


@pytest.mark.parametrize(
    ("database", "reason"),
    [
        ("mysql://root@localhost/mail", "no database that is known here"),
        ("sesgate.db", "no database that is known here"),
        ("sqlite:////nowhere/at/all/sesgate.db", "does not exist"),
        ("sqlite://", "does not exist"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_sentence(database, reason):
    with pytest.raises(StoreError, match=reason):
        open_stores(Settings(database_url=database))


def test_a_file_that_is_no_database_is_one_sentence(tmp_path):
    (tmp_path / "sesgate.db").write_bytes(b"This is a letter, and not a database at all. " * 100)
    with pytest.raises(StoreError, match="not a database"):
        migrate(url(tmp_path), "sandbox")
    with pytest.raises(StoreError, match="not a database"):
        open_stores(sqlite_settings(tmp_path))


def test_nobody_else_may_read_the_files(tmp_path):
    stores = sqlite_stores(tmp_path)
    stores.control.put("x", {})
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    stores.close()
    assert set(modes) >= {"sesgate.db", "sesgate.db-wal", "sesgate.db-gate"}
    assert set(modes.values()) == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path):
    (tmp_path / "sesgate.db").touch(mode=0o644)
    migrate(url(tmp_path), "sandbox")
    assert stat.S_IMODE((tmp_path / "sesgate.db").stat().st_mode) == 0o600


def _described(connection):
    tables = {}
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in names:
        columns = {
            (row[1], row[2], row[3], row[5]) for row in connection.execute(f"PRAGMA table_info({name})")
        }  # name, type, NOT NULL, place in the primary key
        foreign = {tuple(row[2:7]) for row in connection.execute(f"PRAGMA foreign_key_list({name})")}
        indexes = {
            (unique, partial, tuple(row[2] for row in connection.execute(f"PRAGMA index_info({index})")))
            for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({name})")
        }
        conditions = {
            " ".join(row[0].split())
            for row in connection.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql LIKE '%WHERE%'", (name,)
            )
        }
        tables[name] = (columns, foreign, indexes, conditions)
    return tables


def test_the_models_are_the_migrated_schema(tmp_path):
    migrate(url(tmp_path), "sandbox")
    scratch = peewee.SqliteDatabase(str(tmp_path / "scratch.db"))
    with scratch.bind_ctx(models.TABLES, bind_refs=False, bind_backrefs=False), scratch:
        scratch.create_tables(models.TABLES)
    migrated = sqlite3.connect(tmp_path / "sesgate.db")
    modelled = sqlite3.connect(tmp_path / "scratch.db")
    described = _described(migrated)
    del described["schema_migrations"]
    assert described == _described(modelled)
    migrated.close()
    modelled.close()


def test_the_built_in_credential_is_there(tmp_path):
    stores = sqlite_stores(tmp_path)
    with stores.db.read() as sql:
        assert sql.all("SELECT name, disabled_at FROM credentials") == [("local", None)]
    stores.close()
