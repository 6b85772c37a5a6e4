"""The configuration sets of the simulated SES, and where their events go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.sandbox.database import Database
from gateway.sandbox.errors import already_exists, configuration_set_missing, not_found

Json = dict[str, Any]


class ConfigurationSets:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, options: Json) -> None:
        with self._database.transaction():
            if self.exists(name):
                raise already_exists(f"Configuration set <{name}> already exists.")
            self._database.execute(
                "INSERT INTO configuration_sets (name, options) VALUES (?, ?)", name, json.dumps(options)
            )

    def exists(self, name: str) -> bool:
        return self._database.one("SELECT 1 FROM configuration_sets WHERE name = ?", name) is not None

    def options(self, name: str) -> Json:
        row = self._database.one("SELECT options FROM configuration_sets WHERE name = ?", name)
        if row is None:
            raise configuration_set_missing(name)
        options: Json = json.loads(row["options"])
        return options

    def change(self, name: str, changed: Json) -> None:
        with self._database.transaction():
            options = self.options(name) | changed
            self._database.execute(
                "UPDATE configuration_sets SET options = ? WHERE name = ?", json.dumps(options), name
            )

    def names(self) -> list[str]:
        return [row["name"] for row in self._database.all("SELECT name FROM configuration_sets ORDER BY name")]

    def delete(self, name: str) -> None:
        with self._database.transaction():
            if not self._database.execute("DELETE FROM configuration_sets WHERE name = ?", name):
                raise configuration_set_missing(name)
            self._database.execute("DELETE FROM event_destinations WHERE configuration_set = ?", name)


@dataclass(frozen=True)
class EventDestination:
    name: str
    definition: Json

    @property
    def topic_arn(self) -> str | None:
        """The topic that events go to; None for a destination of another kind, which the sandbox keeps and ignores."""
        arn: str | None = self.definition.get("SnsDestination", {}).get("TopicArn")
        return arn

    def wants(self, api_event_type: str) -> bool:
        return bool(self.definition.get("Enabled")) and api_event_type in self.definition.get("MatchingEventTypes", [])


class EventDestinations:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, configuration_set: str, name: str, definition: Json) -> None:
        if any(existing.name == name for existing in self.of(configuration_set)):
            raise already_exists(f"Event destination <{name}> already exists in <{configuration_set}>.")
        self._database.execute(
            "INSERT INTO event_destinations (configuration_set, name, definition) VALUES (?, ?, ?)",
            configuration_set,
            name,
            json.dumps(definition),
        )

    def of(self, configuration_set: str) -> list[EventDestination]:
        rows = self._database.all(
            "SELECT name, definition FROM event_destinations WHERE configuration_set = ? ORDER BY name",
            configuration_set,
        )
        return [EventDestination(row["name"], json.loads(row["definition"])) for row in rows]

    def update(self, configuration_set: str, name: str, changed: Json) -> None:
        """Parts that are not given stay as they are, as at AWS."""
        with self._database.transaction():
            known = {existing.name: existing.definition for existing in self.of(configuration_set)}
            definition = json.dumps(known.get(name, {}) | changed)
            updated = self._database.execute(
                "UPDATE event_destinations SET definition = ? WHERE configuration_set = ? AND name = ?",
                definition,
                configuration_set,
                name,
            )
            self._require(updated, configuration_set, name)

    def delete(self, configuration_set: str, name: str) -> None:
        deleted = self._database.execute(
            "DELETE FROM event_destinations WHERE configuration_set = ? AND name = ?", configuration_set, name
        )
        self._require(deleted, configuration_set, name)

    @staticmethod
    def _require(touched: int, configuration_set: str, name: str) -> None:
        if not touched:
            raise not_found(f"Event destination <{name}> does not exist in configuration set <{configuration_set}>.")
