"""The suppression store: whom nothing is sent to, and whom nothing was sent to once.

An entry is about an address or a whole domain, for everybody or for one credential.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.addresses import Mailbox
from gateway.store.audit import record
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.sql import Sql
from gateway.store.suppression_rows import (
    FIELDS,
    Ended,
    Suppression,
    ended_of,
    entry_of,
    find,
    find_all,
    lift,
    put_away,
    standing,
    suppress,
)
from gateway.store.times import now_micros, to_micros
from gateway.subjects import Subject
from gateway.suppression_policy import Reason


class UnknownScopeError(StoreError):
    """A suppression was to hold for a credential that is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no credential {name}.")


class Suppressions:
    """Asked at every RCPT and again right before each sending."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def find(self, mailbox: Mailbox, credential: str | None = None) -> Suppression | None:
        """The strongest reason in force not to mail this address under this credential (None: under any at all).

        None means surely not suppressed; StoreUnavailableError that it cannot be told.
        """
        with self._db.read() as sql:
            return find(sql, mailbox.key, credential)

    def find_all(self, wanted: Sequence[tuple[Mailbox, str | None]]) -> Sequence[Suppression | None]:
        """What `find` says of each of these mailboxes and credentials, in their order, for the price of a few."""
        with self._db.read() as sql:
            return find_all(sql, [(mailbox.key, credential) for mailbox, credential in wanted])

    def of(self, subject: Subject | Mailbox) -> list[Suppression]:
        """Every entry about exactly this subject, whatever its scope, the expired ones too."""
        with self._db.read() as sql:
            return [entry_of(row) for row in sql.all(_OF, (subject.key, f"{subject.key}/"))]

    def history(self, subject: Subject | Mailbox) -> list[Ended]:
        """What has ended about exactly this subject, whatever its scope, oldest first."""
        with self._db.read() as sql:
            rows = sql.all(_HISTORY, (subject.key,))
        return [ended_of(row) for row in rows]

    def list(
        self,
        *,
        limit: int = 50,
        after: str = "",
        reason: Reason | None = None,
        scope: str | None = None,
        expired: bool = False,
    ) -> list[Suppression]:
        """Entries in the order of their keys, behind the key `after`: those in force, or those that have expired.

        The `scope` is a credential's name; empty for what holds for all of them, None for both.
        """
        conditions, values = _conditions(reason, scope, expired=expired)
        with self._db.read() as sql:
            rows = sql.all(
                f"SELECT {FIELDS} FROM suppressions WHERE address_key > ? AND {conditions}"
                " ORDER BY address_key LIMIT ?",
                (after, *values, limit),
            )
        return [entry_of(row) for row in rows]

    def add(
        self,
        subject: Subject | Mailbox,
        reason: Reason,
        *,
        source: str,
        detail: str,
        actor: str,
        scope: str = "",
        note: str = "",
        expires_at: datetime | None = None,
    ) -> bool:
        """Suppress by hand; False when that changed nothing, since a reason as strong holds as long already.

        UnknownScopeError when the credential is not there.
        """

        def work(sql: Sql) -> bool:
            _require_scope(sql, scope)
            changed = suppress(
                sql,
                str(subject),
                subject.key,
                reason,
                source=source,
                detail=detail,
                at=now_micros(),
                actor=actor,
                scope=scope,
                note=note,
                expires_at=None if expires_at is None else to_micros(expires_at),
            )
            if changed:
                told = [_told(reason, scope, expires_at), note or detail]
                record(sql, actor, "suppressions.add", subject.key, ": ".join(filter(None, told)))
            return changed

        return self._db.write(work)

    def remove(self, subject: Subject | Mailbox, *, why: str, actor: str, scope: str = "") -> Suppression | None:
        """Lift what is in force about exactly this subject and scope, and tell what it was; None when nothing was.

        ValueError without a reason.
        """
        if not why.strip():
            raise ValueError("a suppression is not lifted without a reason")

        def work(sql: Sql) -> Suppression | None:
            sql.in_turn(subject.key)  # a report that is being processed comes first, and is lifted too
            found = standing(sql, subject.key, scope)
            if found is None:
                return None
            lift(sql, subject.key, scope=scope, at=now_micros(), by=actor, why=why)
            was = _told(found.reason, scope, found.expires_at)
            record(sql, actor, "suppressions.remove", subject.key, f"was {was} since {found.since:%Y-%m-%d}; {why}")
            return found

        return self._db.write(work)

    def expire(self, limit: int) -> int:
        """Move up to so many whose time is over to the history; the number moved. Without one, nothing is written."""
        now = now_micros()
        with self._db.read() as sql:
            keys = [row[0] for row in sql.all(_DUE, (now, limit))]
        return self._db.write(lambda sql: put_away(sql, keys, now)) if keys else 0


# The scopes are told one by one and not as a range of keys: what lies in a range is each database's own affair.
_OF = (
    f"SELECT {FIELDS} FROM suppressions WHERE address_key IN"
    " (SELECT ? UNION ALL SELECT ? || name FROM credentials) ORDER BY address_key"
)
_HISTORY = (
    f"SELECT {FIELDS}, ended_at, ended_by, ended_why FROM suppression_history WHERE address_key = ?"
    " ORDER BY ended_at, id"
)
_DUE = "SELECT address_key FROM suppressions WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"


def _conditions(reason: Reason | None, scope: str | None, *, expired: bool) -> tuple[str, list[object]]:
    """What `list` shows. The scope is asked as the index on it spells it."""
    now = now_micros()
    conditions = ["expires_at <= ?" if expired else "(expires_at IS NULL OR expires_at > ?)"]
    values: list[object] = [now]
    if reason is not None:
        conditions.append("reason = ?")
        values.append(reason.value)
    if scope is not None:
        conditions.append("scope <> '' AND scope = ?" if scope else "scope = ?")
        values.append(scope)
    return " AND ".join(conditions), values


def _require_scope(sql: Sql, scope: str) -> None:
    if scope and sql.value(f"SELECT 1 FROM credentials WHERE name = ?{sql.to_change}", (scope,)) is None:
        raise UnknownScopeError(scope)


def _told(reason: Reason, scope: str, expires_at: datetime | None) -> str:
    """As the audit has it."""
    parts = (reason.value, scope and f"for {scope}", expires_at and f"until {expires_at:%Y-%m-%d}")
    return " ".join(part for part in parts if part)
