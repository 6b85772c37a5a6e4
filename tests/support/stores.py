"""Real stores for tests: a migrated SQLite file in the test's own directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.settings import Settings
from gateway.store.schema import migrate
from gateway.store.stores import Stores, open_stores


def sqlite_settings(directory: Path, **fields: Any) -> Settings:
    return Settings(data_dir=directory, **fields)


def sqlite_stores(directory: Path, **fields: Any) -> Stores:
    """Migrated and opened; the caller closes them. `fields` are settings by name."""
    settings = sqlite_settings(directory, **fields)
    migrate(settings.database, "sandbox")
    return open_stores(settings)
