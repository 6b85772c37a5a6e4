"""Every test of a store runs on both databases, but for those of modules that say SQLITE_ONLY."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.settings import Settings
from gateway.store.schema import migrate
from gateway.store.stores import Stores, open_stores
from tests.support.postgres import Postgres
from tests.support.stores import sqlite_stores


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stores" in metafunc.fixturenames:
        sqlite_only = getattr(metafunc.module, "SQLITE_ONLY", False)
        metafunc.parametrize("stores", ["sqlite"] if sqlite_only else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """A migrated database, to be copied for each test."""
    name = postgres.new_database()
    migrate(postgres.url(name), "sandbox")
    return name


@pytest.fixture
def postgres_stores(postgres: Postgres, postgres_template: str) -> Iterator[Stores]:
    name = postgres.new_database(postgres_template)
    opened = open_stores(Settings(database_url=postgres.url(name)))
    yield opened
    opened.close()
    postgres.drop(name)


@pytest.fixture
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres_stores")
        return
    opened = sqlite_stores(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def pair(postgres: Postgres, postgres_template: str) -> Iterator[list[Stores]]:
    """Two programs on one PostgreSQL database."""
    name = postgres.new_database(postgres_template)
    opened = [open_stores(Settings(database_url=postgres.url(name))) for _ in range(2)]
    yield opened
    for stores in opened:
        stores.close()
    postgres.drop(name)
