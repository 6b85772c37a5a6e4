"""The servers that tests share: made once a session, on first use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the tests' own. Without one installed the test is skipped, and fails in CI."""
    with running_postgres() as server:
        yield server
