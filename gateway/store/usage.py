"""Counting recipients against the caps of a credential, inside the transaction that accepts them."""

from __future__ import annotations

from gateway.credentials import PERIODS, Caps, Period, free_at
from gateway.envelope import LOCAL_CREDENTIAL
from gateway.store.errors import OverCapError
from gateway.store.sql import Sql
from gateway.store.times import from_micros, now_micros, span


def count(sql: Sql, credential_id: int, name: str, caps: Caps, recipients: int) -> None:
    """Note that so many are being accepted. OverCapError when a cap has no room for them, and nothing is noted then.

    All that count do so one after another until their commit: a lock for each credential would let two fronts, whose
    groups meet the same credentials in another order, wait for each other.
    """
    one_at_a_time(sql)
    now = now_micros()
    capped = [
        (period, cap) for period, cap in zip(PERIODS, (caps.per_minute, caps.per_day), strict=True) if cap is not None
    ]
    for period, cap in capped:
        if used(sql, credential_id, period, now) + recipients > cap:
            steps = [(from_micros(begun_at), number) for begun_at, number in _steps(sql, credential_id, period, now)]
            raise OverCapError(name, period.name, cap, free_at(steps, recipients, cap, period))
    for period, _ in capped:
        sql.run(_ADD, (credential_id, period.name, now - now % span(period.step), recipients))


def one_at_a_time(sql: Sql) -> None:
    """Wait for every other transaction that counts or changes credentials: the row of `local` stands for them all."""
    if sql.to_change:
        sql.value(f"SELECT id FROM credentials WHERE name = ?{sql.to_change}", (LOCAL_CREDENTIAL,))


def used(sql: Sql, credential_id: int, period: Period, now: int) -> int:
    """Recipients accepted in the period that ends now."""
    return int(sql.value(f"SELECT COALESCE(SUM(recipients), 0) {_COUNTED}", _bounds(credential_id, period, now)))


def _steps(sql: Sql, credential_id: int, period: Period, now: int) -> list[tuple[int, int]]:
    rows = sql.all(f"SELECT begun_at, recipients {_COUNTED} ORDER BY begun_at", _bounds(credential_id, period, now))
    return [(row[0], row[1]) for row in rows]


# What a clock that was wrong has left far ahead is not counted: it would count for as long.
_COUNTED = "FROM credential_usage WHERE credential_id = ? AND period = ? AND begun_at > ? AND begun_at < ?"
_ADD = (
    "INSERT INTO credential_usage (credential_id, period, begun_at, recipients) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (credential_id, period, begun_at)"
    " DO UPDATE SET recipients = credential_usage.recipients + excluded.recipients"
)


def _bounds(credential_id: int, period: Period, now: int) -> tuple[object, ...]:
    return credential_id, period.name, now - span(period.length) - span(period.step), now + span(period.length)
