"""The audit trail: who changed what by hand. Written in the transaction of the change itself."""

from __future__ import annotations

from gateway.store.sql import Sql
from gateway.store.times import now_micros


def record(sql: Sql, actor: str, action: str, subject: str, detail: str) -> None:
    sql.run(
        "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
        (now_micros(), actor, action, subject, detail),
    )
