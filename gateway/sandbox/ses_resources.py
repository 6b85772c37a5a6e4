"""What exists in the simulated SES: configuration sets, event destinations, identities, the suppression list."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from gateway.sandbox.database import Database
from gateway.sandbox.errors import already_exists, configuration_set_missing, not_found

Json = dict[str, Any]

PENDING_PREFIX: Final = "unverified"
"""An identity whose name starts with this stays unverified, so that set-up can be tested against one."""


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


@dataclass(frozen=True)
class Identity:
    """An address or a domain. The sandbox verifies both at once, for it has neither DNS nor a mailbox to ask."""

    name: str
    configuration_set: str | None

    @property
    def is_domain(self) -> bool:
        return "@" not in self.name

    @property
    def verified(self) -> bool:
        return not self.name.startswith(PENDING_PREFIX)


class Identities:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, configuration_set: str | None) -> Identity:
        key = _folded(name)
        if self.get(key) is not None:
            raise already_exists(f"Email identity {name} already exist.")
        self.put(Identity(key, configuration_set))
        return Identity(key, configuration_set)

    def put(self, identity: Identity) -> None:
        self._database.execute(
            "REPLACE INTO identities (name, options) VALUES (?, ?)",
            identity.name,
            json.dumps({"configuration_set": identity.configuration_set}),
        )

    def get(self, name: str) -> Identity | None:
        row = self._database.one("SELECT name, options FROM identities WHERE name = ?", _folded(name))
        return None if row is None else Identity(row["name"], json.loads(row["options"])["configuration_set"])

    def all(self) -> list[Identity]:
        rows = self._database.all("SELECT name, options FROM identities ORDER BY name")
        return [Identity(row["name"], json.loads(row["options"])["configuration_set"]) for row in rows]

    def delete(self, name: str) -> bool:
        return bool(self._database.execute("DELETE FROM identities WHERE name = ?", _folded(name)))

    def any(self) -> bool:
        return self._database.one("SELECT 1 FROM identities LIMIT 1") is not None

    def covering(self, mailbox: str) -> Identity | None:
        """The identity that speaks for this address: itself before its domain before a parent domain.

        An address that is verified speaks with any `+label`, too.
        """
        local, at, domain = mailbox.rpartition("@")
        labels = domain.split(".")
        candidates = [
            mailbox,
            f"{local.partition('+')[0]}{at}{domain}",
            *(".".join(labels[start:]) for start in range(len(labels))),
        ]
        return next((found for name in candidates if (found := self.get(name)) is not None), None)


def _folded(name: str) -> str:
    """Domains ignore case, local parts do not."""
    local, at, domain = name.rpartition("@")
    return f"{local}{at}{domain.lower()}"


@dataclass(frozen=True)
class Suppressed:
    address: str
    reason: str
    updated_at: float


class SuppressionList:
    """The account's list: exact in the local part, without case in the domain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, address: str, reason: str) -> None:
        self._database.execute(
            "REPLACE INTO suppressed (address, reason, updated_at) VALUES (?, ?, ?)",
            _folded(address),
            reason,
            time.time(),
        )

    def get(self, address: str) -> Suppressed | None:
        row = self._database.one("SELECT * FROM suppressed WHERE address = ?", _folded(address))
        return None if row is None else Suppressed(**dict(row))

    def delete(self, address: str) -> bool:
        return bool(self._database.execute("DELETE FROM suppressed WHERE address = ?", _folded(address)))

    def page(self, after: str, size: int, reasons: list[str], since: float, before: float) -> list[Suppressed]:
        marks = ", ".join("?" for _ in reasons)
        rows = self._database.all(
            f"SELECT * FROM suppressed WHERE address > ? AND reason IN ({marks}) AND updated_at BETWEEN ? AND ?"
            " ORDER BY address LIMIT ?",
            after,
            *reasons,
            since,
            before,
            size,
        )
        return [Suppressed(**dict(row)) for row in rows]
