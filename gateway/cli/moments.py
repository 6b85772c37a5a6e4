"""How a moment is typed: as a time, or as an age."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.cli.errors import UsageError
from gateway.setting_values import parse_duration


def moment(text: str) -> datetime:
    """A time in ISO 8601, in UTC when it names no zone. UsageError when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write it like 2026-11-21T03:00:00Z.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def moment_or_age(text: str, now: datetime) -> datetime:
    """Like `moment`, or how long before `now`: `2h`, `4d`. UsageError when it is neither."""
    try:
        return now - parse_duration(text)
    except OverflowError:
        raise UsageError(f"{text!r} is longer ago than time can be counted.") from None
    except ValueError:
        pass
    try:
        return moment(text)
    except UsageError:
        raise UsageError(f"{text!r} is no time and no age; write it like 2026-11-21T03:00:00Z, or 2h, or 4d.") from None


def moment_or_term(text: str, now: datetime) -> datetime:
    """Like `moment`, or how long from now: `2h`, `30d`. UsageError when it is neither, or is over already."""
    found = _term_end(text, now)
    if found <= now:
        raise UsageError(f"{text!r} is over already.")
    return found


def _term_end(text: str, now: datetime) -> datetime:
    try:
        return now + parse_duration(text)
    except OverflowError:
        raise UsageError(f"{text!r} is longer than time can be counted.") from None
    except ValueError:
        pass
    try:
        return moment(text)
    except UsageError:
        raise UsageError(f"{text!r} is no time and no term; write it like 2026-12-31, or 12h, or 30d.") from None
