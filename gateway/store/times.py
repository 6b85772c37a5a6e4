"""Times as the database holds them: microseconds since 1970, UTC, in a BIGINT."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from peewee import BigIntegerField

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_micros() -> int:
    return time.time_ns() // 1000


def to_micros(value: datetime) -> int:
    """ValueError for a naive datetime: it would mean another moment on another machine."""
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return (value - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def span(duration: timedelta) -> int:
    """A duration in microseconds."""
    return duration // _MICROSECOND


class UtcMicrosField(BigIntegerField):
    """An aware datetime outside, microseconds in a BIGINT inside."""

    def db_value(self, value: datetime | int | None) -> int | None:
        return to_micros(value) if isinstance(value, datetime) else value

    def python_value(self, value: int | None) -> datetime | None:
        return None if value is None else from_micros(value)


def of_seconds(value: object) -> datetime | None:
    """A moment in a fact of `control`, which holds seconds since 1970; None when there is none."""
    return from_micros(round(value * 1_000_000)) if isinstance(value, int | float) else None
