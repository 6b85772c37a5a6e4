"""One running installation for all the tests of a module, on each of the databases that the module names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.postgres import Postgres


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "installation" in metafunc.fixturenames:
        databases = getattr(metafunc.module, "DATABASES", ("sqlite",))
        metafunc.parametrize("installation", databases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory: Path = tmp_path_factory.mktemp("up") / "var"
    # A worker that is killed between its attempt's row and its call leaves a claim that only the lease ends.
    settings = {"SESGATE_CLAIM_LEASE": "20s"}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        settings["SESGATE_DATABASE_URL"] = postgres.url(postgres.new_database())
    with Installation(directory, **settings) as running:
        yield running
