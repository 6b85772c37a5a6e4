"""What the webhook has heard of a topic lately, in words for somebody who waits for a confirmation. Pure.

The webhook and the queue's consumer keep in the control store when they last saw something of each kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing that reached the webhook."""

    kind: str
    at: datetime
    topic: str
    reason: str


def latest(fact: Mapping[str, Any] | None, topics: frozenset[str], since: datetime) -> Heard | None:
    """The last thing that the webhook heard since then that may be about one of these topics."""
    told = [heard for heard in _read((fact or {}).get("webhook")) if heard.at >= since]
    return max((heard for heard in told if not heard.topic or heard.topic in topics), key=_at, default=None)


def spoken(heard: Heard | None, url: str) -> str:
    """What it means for a subscription that is still pending."""
    if heard is None:
        return f"nothing has reached the webhook yet (is {url} reachable from the internet?)"
    meaning = {
        "confirmed": "the webhook has confirmed; SNS has yet to show it",
        "not-confirmed": "the request reached the webhook, which could not confirm it",
        "refused": "a message reached the webhook, which refused it",
        "later": "a message reached the webhook, which asked SNS to send it again later",
        "unsubscribed": "the webhook was told that its subscription ended",
        "notification": "notifications reach the webhook",
    }.get(heard.kind, f"the webhook saw: {heard.kind}")
    return f"{meaning} ({heard.reason.rstrip('.')})" if heard.reason else meaning


def diagnosis(heard: Heard | None, url: str) -> str:
    """What to do when the time is over."""
    if heard is None:
        return (
            f"From a machine elsewhere, try `curl -i {url}`: the name must resolve, the port be open, the certificate"
            " be one of a public authority, and POST must reach `sesgate webhook` without a redirect."
        )
    return {
        "not-confirmed": "The webhook needs credentials that may call sns:ConfirmSubscription; its log has the reason.",
        "refused": "The webhook's log has the reason. It must work with the same database as this command.",
        "later": "The webhook's log has the reason: mostly its database, its clock, or the way to SNS's certificate.",
    }.get(heard.kind, "SNS may still need a moment.")


def _read(given: Any) -> Iterator[Heard]:
    """One record, or one of each kind; what cannot be read was not heard."""
    if not isinstance(given, Mapping):
        return
    records = [given] if "kind" in given else [{"kind": kind} | one for kind, one in given.items() if _is_map(one)]
    for record in records:
        at = _moment(record.get("at"))
        if at is not None:
            yield Heard(str(record["kind"]), at, str(record.get("topic") or ""), str(record.get("reason") or ""))


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _moment(given: Any) -> datetime | None:
    """ISO 8601, or microseconds since 1970."""
    try:
        if isinstance(given, int | float):
            return datetime.fromtimestamp(given / 1_000_000, UTC)
        parsed = datetime.fromisoformat(str(given))
    except (ValueError, OverflowError, OSError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _at(heard: Heard) -> datetime:
    return heard.at
