"""Small named JSON values: the account, the faults, the wiring."""

from __future__ import annotations

import json
from typing import Any

from gateway.sandbox.database import Database


class Records:
    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, name: str) -> Any:
        """The value, or None if it was never saved."""
        row = self._database.one("SELECT value FROM records WHERE name = ?", name)
        return None if row is None else json.loads(row["value"])

    def save(self, name: str, value: Any) -> None:
        self._database.execute("REPLACE INTO records (name, value) VALUES (?, ?)", name, json.dumps(value))
