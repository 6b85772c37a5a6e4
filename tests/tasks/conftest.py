from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.stores import Stores
from tests.support.stores import sqlite_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """Marks and leases are short, so that what lapses does so within a test."""
    opened = sqlite_stores(tmp_path, dispatch_timeout="300ms", dispatcher_lease="400ms")
    yield opened
    opened.close()
