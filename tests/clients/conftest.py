"""One front for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.front import Front


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("front")) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean_slate(front: Front) -> None:
    """What another test has sent is not looked at."""
    front.stored()
