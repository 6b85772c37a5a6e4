from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.stores import Stores
from tests.support.stores import sqlite_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = sqlite_stores(tmp_path)
    yield opened
    opened.close()
