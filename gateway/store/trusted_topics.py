"""The topics that commands made, in the control store: whoever takes feedback in re-reads them every few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.store import audit, control
from gateway.store.control import TOPICS
from gateway.store.db import Database
from gateway.store.sql import Sql
from gateway.store.times import now_micros


def trusted_topics(db: Database) -> frozenset[str]:
    """The ARNs that the database holds; those of SESGATE_SNS_TOPIC_ARNS are trusted beside them."""
    with db.read() as sql:
        return _read(sql)


def trust_topics(db: Database, arns: Iterable[str], *, actor: str) -> bool:
    """Add to them; False when all were trusted already."""
    added = frozenset(arns)
    return _change(db, lambda known: known | added, "trust topics", actor)


def forget_topics(db: Database, arns: Iterable[str], *, actor: str) -> bool:
    """Take them out; False when none was in."""
    removed = frozenset(arns)
    return _change(db, lambda known: known - removed, "forget topics", actor)


def _change(db: Database, change: Callable[[frozenset[str]], frozenset[str]], action: str, actor: str) -> bool:
    def work(sql: Sql) -> bool:
        _lock(sql)
        before = _read(sql)
        after = change(before)
        if after == before:
            return False
        control.put(sql, TOPICS, {"arns": sorted(after)})
        audit.record(sql, actor, action, ", ".join(sorted(before ^ after)), "")
        return True

    return db.write(work)


def _lock(sql: Sql) -> None:
    """Two commands at once must not forget each other's topics; what is not there cannot be locked, so it is made."""
    made = "INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES (?, '{}', '', 0, 0, ?)"
    sql.run(f"{made} ON CONFLICT (key) DO NOTHING", (TOPICS, now_micros()))
    sql.value(f"SELECT value FROM control WHERE key = ?{sql.to_change}", (TOPICS,))


def _read(sql: Sql) -> frozenset[str]:
    arns = (control.get(sql, TOPICS) or {}).get("arns", [])
    return frozenset(arn for arn in arns if isinstance(arn, str)) if isinstance(arns, list) else frozenset()
