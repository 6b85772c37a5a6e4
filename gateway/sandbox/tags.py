"""The tags of everything that has an ARN: queues, topics, configuration sets, identities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.sandbox.database import Database


class Tags:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, arn: str) -> dict[str, str]:
        rows = self._database.all("SELECT key, value FROM tags WHERE arn = ? ORDER BY key", arn)
        return {row["key"]: row["value"] for row in rows}

    def add(self, arn: str, tags: Mapping[str, str]) -> None:
        """A key that is there gets the new value."""
        with self._database.transaction():
            for key, value in tags.items():
                self._database.execute("REPLACE INTO tags (arn, key, value) VALUES (?, ?, ?)", arn, key, value)

    def remove(self, arn: str, keys: Iterable[str]) -> None:
        with self._database.transaction():
            for key in keys:
                self._database.execute("DELETE FROM tags WHERE arn = ? AND key = ?", arn, key)

    def clear(self, arn: str) -> None:
        self._database.execute("DELETE FROM tags WHERE arn = ?", arn)
