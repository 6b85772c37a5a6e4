"""Credentials as rows: how they are read and written, for use inside transactions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Any

from gateway.credentials import Credential, Network, Secret, Terms, digest_of
from gateway.envelope import LOCAL_CREDENTIAL
from gateway.store.sql import Row, Sql, marks
from gateway.store.times import from_micros, now_micros

_COLUMNS = (
    "c.id, c.name, c.application, c.disabled_at, c.senders, c.max_message_bytes, c.per_minute, c.per_day,"
    " c.configuration_set, c.tags, c.suppressed_recipients"
)
_PLAIN = ("application", "max_message_bytes", "per_minute", "per_day", "configuration_set", "suppressed_recipients")
_LISTS = ("senders", "tags")


def read(sql: Sql, local_networks: tuple[Network, ...], name: str | None = None) -> dict[str, Credential]:
    """One or all, by name. Secrets come last, so that none is missing of a credential that was just made."""
    where, values = ("", ()) if name is None else (" WHERE c.name = ?", (name,))
    rows = sql.all(f"SELECT {_COLUMNS} FROM credentials c{where} ORDER BY c.name", values)
    networks = _grouped(
        sql.all(
            "SELECT n.credential_id, n.network FROM credential_networks n"
            f" JOIN credentials c ON c.id = n.credential_id{where}",
            values,
        )
    )
    secrets = _grouped(
        sql.all(
            "SELECT s.credential_id, s.id, s.digest, s.created_at, s.expires_at, s.last_used_at"
            f" FROM credential_secrets s JOIN credentials c ON c.id = s.credential_id{where} ORDER BY s.id",
            values,
        )
    )
    return {
        row[1]: _credential(
            row,
            local_networks if row[1] == LOCAL_CREDENTIAL else _networks(networks.get(row[0], [])),
            tuple(map(_secret, secrets.get(row[0], []))),
        )
        for row in rows
    }


def _grouped(rows: list[Row]) -> dict[int, list[Row]]:
    """Rows without their first column, by it."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row[1:])
    return found


def _credential(row: Row, networks: tuple[Network, ...], secrets: tuple[Secret, ...]) -> Credential:
    return Credential(
        name=row[1],
        application=row[2] or row[1],
        enabled=row[3] is None,
        secrets=secrets,
        networks=networks,
        senders=tuple(json.loads(row[4])) if row[4] else (),
        max_message_bytes=row[5],
        per_minute=row[6],
        per_day=row[7],
        configuration_set=row[8],
        tags=read_tags(row[9]),
        suppressed_recipients=row[10],
    )


def read_tags(text: str | None) -> tuple[tuple[str, str], ...]:
    """The tags as the column `tags` holds them."""
    return tuple((name, value) for name, value in json.loads(text)) if text else ()


def _networks(rows: list[Row]) -> tuple[Network, ...]:
    return tuple(sorted((ip_network(row[0]) for row in rows), key=lambda found: (found.version, found)))


def _secret(row: Row) -> Secret:
    return Secret(
        id=row[0],
        digest=bytes.fromhex(row[1]),
        created_at=from_micros(row[2]),
        expires_at=moment_of(row[3]),
        last_used_at=moment_of(row[4]),
    )


def moment_of(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def write_terms(sql: Sql, id_: int, terms: Terms) -> None:
    values: dict[str, Any] = {column: terms[column] for column in _PLAIN if column in terms}  # type: ignore[literal-required]  # its keys
    for column in _LISTS:
        if column in terms:
            values[column] = json.dumps(terms[column]) if terms[column] else None  # type: ignore[literal-required]  # its keys
    if values:
        sql.run(
            f"UPDATE credentials SET {', '.join(f'{column} = ?' for column in values)} WHERE id = ?",
            (*values.values(), id_),
        )
    if "networks" in terms:
        sql.run("DELETE FROM credential_networks WHERE credential_id = ?", (id_,))
        sql.many(
            "INSERT INTO credential_networks (credential_id, network) VALUES (?, ?)",
            [(id_, str(network)) for network in terms["networks"]],
        )


def add_secret(sql: Sql, credential_id: int, secret: str) -> None:
    """Under an id that was never another's: open sessions know their secret by it, and SQLite would use one again."""
    now = now_micros()
    sql.run(
        "INSERT INTO credential_secrets (id, credential_id, digest, created_at) VALUES (?, ?, ?, ?)",
        (now, credential_id, digest_of(secret).hex(), now),
    )


def delete_secrets(sql: Sql, secrets: Sequence[Secret]) -> None:
    if secrets:
        ids = [secret.id for secret in secrets]
        sql.run(f"DELETE FROM credential_secrets WHERE id IN ({marks(ids)})", ids)
