from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.smtp.running import Client, RunningFront, running_front


@pytest.fixture
def front(tmp_path: Path) -> Iterator[RunningFront]:
    with running_front(tmp_path) as running:
        yield running


@pytest.fixture
def client(front: RunningFront) -> Iterator[Client]:
    with front.connect() as client:
        yield client
