"""The suppression store: the addresses that must not be mailed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.addresses import Mailbox
from gateway.store.audit import record
from gateway.store.db import Database
from gateway.store.sql import Row, Sql
from gateway.store.times import from_micros, now_micros
from gateway.suppression_policy import Reason, stronger


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why an address is not mailed, since when, and what said so."""

    address: str
    reason: Reason
    since: datetime
    source: str
    detail: str


class Suppressions:
    """Asked at every RCPT and again right before each sending."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def find(self, mailbox: Mailbox) -> Suppression | None:
        """None means surely not suppressed; StoreUnavailableError that it cannot be told."""
        with self._db.read() as sql:
            return find(sql, mailbox.key)

    def list(self, *, limit: int = 50, after: str = "", reason: Reason | None = None) -> list[Suppression]:
        """Suppressions in the order of their keys, behind the key `after`."""
        condition, values = ("", ()) if reason is None else (" AND reason = ?", (reason.value,))
        with self._db.read() as sql:
            rows = sql.all(
                f"{_SELECT} WHERE address_key > ?{condition} ORDER BY address_key LIMIT ?", (after, *values, limit)
            )
        return [_suppression(row) for row in rows]

    def add(self, mailbox: Mailbox, reason: Reason, *, source: str, detail: str, actor: str) -> bool:
        """Suppress an address by hand; False when that changed nothing, since a reason as strong stands already."""

        def work(sql: Sql) -> bool:
            changed = suppress(sql, str(mailbox), mailbox.key, reason, source=source, detail=detail, at=now_micros())
            if changed:
                record(sql, actor, "suppressions.add", mailbox.key, f"{reason}: {detail}")
            return changed

        return self._db.write(work)

    def remove(self, mailbox: Mailbox, *, actor: str) -> bool:
        """Lift a suppression; False when there is none."""

        def work(sql: Sql) -> bool:
            found = find(sql, mailbox.key)
            if found is None:
                return False
            sql.run("DELETE FROM suppressions WHERE address_key = ?", (mailbox.key,))
            record(sql, actor, "suppressions.remove", mailbox.key, f"was {found.reason} since {found.since:%Y-%m-%d}")
            return True

        return self._db.write(work)


_SELECT = "SELECT address, reason, since, source, detail FROM suppressions"


def find(sql: Sql, address_key: str) -> Suppression | None:
    """For use inside a transaction of another store."""
    row = sql.one(f"{_SELECT} WHERE address_key = ?", (address_key,))
    return None if row is None else _suppression(row)


def suppress(sql: Sql, address: str, address_key: str, reason: Reason, *, source: str, detail: str, at: int) -> bool:
    """Suppress an address inside a transaction; False when a reason as strong stands already. A reason only grows."""
    inserted = sql.run(
        "INSERT INTO suppressions (address_key, address, reason, source, detail, since) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (address_key) DO NOTHING",
        (address_key, address, reason.value, source, detail, at),
    )
    if inserted:
        return True
    # The row is there and now ours: nobody strengthens or lifts it before this transaction is over.
    found = sql.value(f"SELECT reason FROM suppressions WHERE address_key = ?{sql.to_change}", (address_key,))
    if stronger(Reason(found), reason) is Reason(found):
        return False
    sql.run(
        "UPDATE suppressions SET reason = ?, source = ?, detail = ?, since = ? WHERE address_key = ?",
        (reason.value, source, detail, at, address_key),
    )
    return True


def _suppression(row: Row) -> Suppression:
    return Suppression(address=row[0], reason=Reason(row[1]), since=from_micros(row[2]), source=row[3], detail=row[4])
