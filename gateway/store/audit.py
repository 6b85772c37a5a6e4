"""The audit trail: who changed what by hand. Written in the transaction of the change itself."""

from __future__ import annotations

from gateway.store.sql import Sql
from gateway.store.times import now_micros


def record(sql: Sql, actor: str, action: str, subject: str, detail: str) -> None:
    begin(sql, actor, action, subject, detail)


def begin(sql: Sql, actor: str, action: str, subject: str, detail: str = "") -> int:
    """Like `record`, for a change of several transactions: the id, by which each of them `amend`s the detail."""
    entry: int = sql.value(
        "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?) RETURNING id",
        (now_micros(), actor, action, subject, detail),
    )
    return entry


def amend(sql: Sql, entry: int, detail: str) -> None:
    sql.run("UPDATE audit SET detail = ? WHERE id = ?", (detail, entry))
