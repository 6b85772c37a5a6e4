"""Where an address stands in the database: found in small reads, without a lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.addresses import Mailbox
from gateway.lifecycle import BEFORE_SES, Status
from gateway.store.by_address import to_address
from gateway.store.db import Database
from gateway.store.mentions import LIKE, Mentions
from gateway.store.sql import Sql, marks
from gateway.store.suppression_rows import Suppression, entries_of

T = TypeVar("T")
Progress = Callable[[int, int], None]

_WINDOW = 20_000
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Searched:
    """A table whose texts may mention an address; `whole` names the columns that are erased as a whole then."""

    table: str
    columns: tuple[str, ...]
    whole: frozenset[str] = frozenset()


SEARCHED = (
    Searched(
        "messages",
        ("reverse_path", "header_from", "subject", "header_message_id"),
        frozenset({"reverse_path", "header_from"}),
    ),
    Searched("recipients", ("reason",)),
    Searched("attempts", ("detail",)),
    Searched("events", ("diagnostic",)),
    Searched("notifications", ("error",)),
    Searched("suppression_history", ("detail", "note", "ended_why")),
    Searched("audit", ("subject", "detail")),
)
_REPORTS = Searched("notifications", ("message",))
# Without a number to go along: few rows, or short ones.
SEARCHED_AT_ONCE = (
    (Searched("control", ("value",)), "key"),
    (Searched("suppressions", ("detail", "note")), "address_key"),
)


# Few rows, and soon none: what is staged is carried out at once.
_STAGED = (
    "SELECT suppression_import_id, ordinal FROM suppression_import_rows"
    " WHERE address_key = ? OR (scope <> '' AND substr(address_key, 1, ?) = ?)"
)


@dataclass(frozen=True, slots=True)
class Text:
    """One text that mentions the address."""

    table: str
    key: str
    column: str
    id: int | str
    whole: bool


@dataclass(frozen=True, slots=True)
class Traces:
    """Everything about one address. `waiting` counts its recipients that SES does not surely have, by status.

    `suppressions` are its own, whatever their scope, and not those of its domain; `staged` are its rows in imports that
    are not carried out yet.
    """

    mailbox: Mailbox
    waiting: Mapping[Status, int]
    recipients: tuple[int, ...]
    whole_messages: tuple[int, ...]
    other_messages: tuple[int, ...]
    contents_needed: int
    events: tuple[int, ...]
    notifications: tuple[int, ...]
    reports_to_process: int
    texts: tuple[Text, ...]
    suppressions: tuple[Suppression, ...]
    staged: tuple[tuple[int, int], ...]


def find_traces(db: Database, mailbox: Mailbox, progress: Progress) -> Traces:
    """Look everywhere; `progress` is told how many rows were looked at, and how many there are."""
    key = mailbox.key
    texts, notified = _search(db, Mentions(key), progress)
    with db.read() as sql:
        recipients = sql.all(f"SELECT id, status, message_id FROM recipients WHERE {to_address('recipients')}", (key,))
        whole, shared = _by_sharing(sql, key, sorted({row[2] for row in recipients}))
        other = (shared | {int(text.id) for text in texts if text.whole}) - whole
        notifications = sorted(notified | linked_notifications(sql, [row[0] for row in recipients]))
        return Traces(
            mailbox=mailbox,
            waiting=Counter(Status(row[1]) for row in recipients if row[1] in BEFORE_SES),
            recipients=tuple(row[0] for row in recipients),
            whole_messages=tuple(sorted(whole)),
            other_messages=tuple(sorted(other)),
            contents_needed=len(needed_contents(sql, key, sorted(other))),
            events=tuple(row[0] for row in sql.all(f"SELECT id FROM events WHERE {to_address('events')}", (key,))),
            notifications=tuple(notifications),
            reports_to_process=_to_process(sql, notifications),
            texts=tuple(text for text in texts if text.table != "messages" or text.id not in whole),
            suppressions=tuple(entries_of(sql, key)),
            staged=tuple((row[0], row[1]) for row in sql.all(_STAGED, (key, len(key) + 1, f"{key}/"))),
        )


def needed_contents(sql: Sql, key: str, messages: Sequence[int]) -> list[int]:
    """Those of the messages whose content somebody else's copy is still to be sent from."""
    unsent = [status.value for status in BEFORE_SES]
    return [
        row[0]
        for some in batches(messages)
        for row in sql.all(
            f"SELECT DISTINCT message_id FROM recipients WHERE message_id IN ({marks(some)})"
            f" AND status IN ({marks(unsent)}) AND address_key <> ?",
            (*some, *unsent, key),
        )
    ]


def batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at a time as one short transaction takes."""
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def _by_sharing(sql: Sql, key: str, messages: Sequence[int]) -> tuple[set[int], set[int]]:
    """Messages to this address alone, and those that others got too."""
    shared = {
        row[0]
        for some in batches(messages)
        for row in sql.all(
            f"SELECT DISTINCT message_id FROM recipients WHERE message_id IN ({marks(some)}) AND address_key <> ?",
            (*some, key),
        )
    }
    return set(messages) - shared, shared


def linked_notifications(sql: Sql, recipients: Sequence[int]) -> set[int]:
    """Reports about these recipients, whichever address they name."""
    return {
        row[0]
        for some in batches(recipients)
        for row in sql.all(
            "SELECT e.notification_id FROM events e JOIN notifications n ON n.id = e.notification_id"
            f" WHERE n.message IS NOT NULL AND e.recipient_id IN ({marks(some)})",
            some,
        )
    }


def _to_process(sql: Sql, notifications: Sequence[int]) -> int:
    return sum(
        int(
            sql.value(
                "SELECT count(*) FROM notifications WHERE processed_at IS NULL AND next_attempt_at IS NOT NULL"
                f" AND id IN ({marks(some)})",
                some,
            )
        )
        for some in batches(notifications)
    )


def _search(db: Database, mentions: Mentions, progress: Progress) -> tuple[list[Text], set[int]]:
    """The texts that mention the address, and the notifications whose report does."""
    with db.read() as sql:
        last = {place.table: int(sql.value(f"SELECT max(id) FROM {place.table}") or 0) for place in SEARCHED}
    total, looked_at = sum(last.values()) + last["notifications"], 0
    texts: list[Text] = []
    notified: set[int] = set()
    for place in (*SEARCHED, _REPORTS):
        for found in _windows(db, place, mentions, last[place.table]):
            if place is _REPORTS:
                notified.update(int(text.id) for text in found)
            else:
                texts.extend(found)
            looked_at += min(_WINDOW, last[place.table])
            progress(min(looked_at, total), total)
    with db.read() as sql:
        for place, key in SEARCHED_AT_ONCE:
            texts.extend(_matching(sql, place, key, mentions, "", ()))
    return texts, notified


def _windows(db: Database, place: Searched, mentions: Mentions, last: int) -> Iterator[list[Text]]:
    """Some rows at a time, so that no statement takes long."""
    for start in range(0, last, _WINDOW):
        with db.read() as sql:
            yield _matching(sql, place, "id", mentions, "id > ? AND id <= ? AND ", (start, start + _WINDOW))


def _matching(
    sql: Sql, place: Searched, key: str, mentions: Mentions, window: str, bounds: tuple[int, ...]
) -> list[Text]:
    either = " OR ".join(f"lower({column}) {LIKE}" for column in place.columns)
    rows = sql.all(
        f"SELECT {key}, {', '.join(place.columns)} FROM {place.table} WHERE {window}({either})",
        (*bounds, *(mentions.like for _ in place.columns)),
    )
    return [
        Text(place.table, key, column, row[0], column in place.whole)
        for row in rows
        for column, value in zip(place.columns, row[1:], strict=True)
        if mentions.stand_in(value)
    ]
