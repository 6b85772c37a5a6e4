"""Suppressions as rows: how they are read, begun and ended, for use inside transactions.

A reason only grows while it is in force: a stronger one takes the place of a weaker one, and the end of the two that is
later is the end of both, whichever came first. What ends for whatever cause goes to the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.store.sql import Row, Sql, marks
from gateway.store.times import from_micros, now_micros
from gateway.subjects import domain_key_of, entry_key, is_of_domain
from gateway.suppression_policy import Reason

SES = "SES"  # who did it when feedback did
_BY_ITSELF = ""  # no user of an operating system has this name
_EXPIRED = "expired"
BEGUN = "suppressions_begun"
ENDED = "suppressions_ended"


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why an address or domain is not mailed, since when, until when, and what or who said so.

    Entries of old releases have no `created_at` and no `actor`. `key` is the row's: that of the subject with the scope.
    """

    address: str
    reason: Reason
    since: datetime
    source: str
    detail: str
    scope: str = ""
    note: str = ""
    actor: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    event_id: int | None = None
    key: str = ""

    @property
    def is_domain(self) -> bool:
        return is_of_domain(self.key)

    @property
    def spoken(self) -> str:
        """As the reason of a mail that was not sent has it."""
        return f"({self.reason}, {self.since:%Y-%m-%d}{', with its whole domain' if self.is_domain else ''})"

    def is_in_force(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


@dataclass(frozen=True, slots=True)
class Ended:
    """A suppression of the past. `ended_by` is a person, SES, or empty when nobody was needed."""

    suppression: Suppression
    ended_at: datetime
    ended_by: str
    ended_why: str


def find(sql: Sql, mailbox_key: str, credential: str | None = None) -> Suppression | None:
    """The strongest in force of up to four: for the address and its domain, each for all and for the credential."""
    keys = _keys(mailbox_key, credential)
    rows = sql.all(_FIND, keys)
    return _strongest(rows, now_micros()) if rows else None


def find_all(sql: Sql, wanted: Sequence[tuple[str, str | None]]) -> list[Suppression | None]:
    """What `find` says of each key of a mailbox and credential, in their order, by few statements."""
    found: list[Suppression | None] = []
    for start in range(0, len(wanted), _AT_ONCE[-1]):
        found += _find_some(sql, [_keys(key, credential) for key, credential in wanted[start : start + _AT_ONCE[-1]]])
    return found


def _find_some(sql: Sql, wanted: Sequence[tuple[str, ...]]) -> list[Suppression | None]:
    room = next(size for size in _AT_ONCE if size >= len(wanted))
    padded = (*wanted, *[wanted[-1]] * (room - len(wanted)))
    rows = sql.all(_FIND_ALL[room], [key for keys in padded for key in keys])
    if not rows:
        return [None] * len(wanted)
    now = now_micros()
    by_key = {row[_KEY]: row for row in rows}
    return [_strongest([by_key[key] for key in dict.fromkeys(keys) if key in by_key], now) for keys in wanted]


def _keys(mailbox_key: str, credential: str | None) -> tuple[str, str, str, str]:
    domain, scope = domain_key_of(mailbox_key), credential or ""
    return mailbox_key, domain, entry_key(mailbox_key, scope), entry_key(domain, scope)


def _strongest(rows: Iterable[Row], now: int) -> Suppression | None:
    found: Suppression | None = None
    for row in sorted(rows, key=_breadth):  # of two reasons as strong, the one that is said of this address
        entry = entry_of(row)
        if _is_in_force(row[_EXPIRES_AT], now) and (found is None or _outranks(entry.reason, found.reason)):
            found = entry
    return found


def standing(sql: Sql, key: str, scope: str = "") -> Suppression | None:
    """The entry in force with exactly this subject's key and scope, which nobody changes before the commit."""
    row = sql.one(f"{_ONE}{sql.to_change}", (entry_key(key, scope),))
    return entry_of(row) if row is not None and _is_in_force(row[_EXPIRES_AT], now_micros()) else None


def suppress(
    sql: Sql,
    address: str,
    key: str,
    reason: Reason,
    *,
    source: str,
    detail: str,
    at: int,
    event_id: int | None = None,
    actor: str = SES,
    scope: str = "",
    note: str = "",
    expires_at: int | None = None,
) -> bool:
    """Suppress the subject with this key since `at`; False when that changed nothing.

    Of two reasons the stronger one stays, and of two ends the later: a hard bounce that is reported while a person has
    stopped the mail for a week holds when the week is over. So it changes nothing when a reason as strong is in force
    for as long, or when its own time is over already. All times are microseconds.
    """
    now = now_micros()
    if not _is_in_force(expires_at, now):
        return False
    row_key = entry_key(key, scope)
    values = (address, reason.value, source, detail, at, scope, note, actor, now, event_id)
    while not sql.run(_INSERT, (row_key, *values, expires_at)):
        # The row is there and now ours, unless it was lifted meanwhile: nobody else changes it before the commit.
        row = sql.one(f"SELECT reason, expires_at FROM suppressions WHERE address_key = ?{sql.to_change}", (row_key,))
        if row is None:
            continue
        current, ends = Reason(row[0]), row[1]
        if not _is_in_force(ends, now):
            _end(sql, key, scope, current, at=ends, by=_BY_ITSELF, why=_EXPIRED)
        elif _outranks(reason, current):
            _end(sql, key, scope, current, at=now, by=_BY_ITSELF, why=f"replaced by {reason}")
            expires_at = _later(expires_at, ends)
        else:
            return _prolong(sql, row_key, ends, expires_at)
    sql.tally(BEGUN, reason.value)
    return True


def suppress_by_event(
    sql: Sql,
    address: str,
    key: str,
    reason: Reason,
    *,
    source: str,
    detail: str,
    at: int,
    event_id: int | None,
    expires_at: int | None,
) -> None:
    """Suppress because SES reported something. Reports come in any order: of several, the earliest is the beginning.

    What would have ended by now changes nothing, as it would have if it had come first.
    """
    now = now_micros()
    if not _is_in_force(expires_at, now):
        return
    suppress(sql, address, key, reason, source=source, detail=detail, at=at, event_id=event_id, expires_at=expires_at)
    sql.run(
        "UPDATE suppressions SET address = ?, source = ?, detail = ?, since = ?, event_id = ? WHERE address_key = ?"
        " AND reason = ? AND actor = ? AND (since > ? OR (since = ? AND event_id IS NULL))"
        " AND (expires_at IS NULL OR expires_at > ?)",
        (address, source, detail, at, event_id, key, reason.value, SES, at, at, now),
    )


def restate(sql: Sql, key: str, *, address: str, detail: str, at: int, event_id: int, expires_at: int | None) -> None:
    """Let an entry that SES's reports have made begin and end as they say by now, which may be later and sooner."""
    sql.run(
        "UPDATE suppressions SET address = ?, detail = ?, since = ?, event_id = ?, expires_at = ?"
        " WHERE address_key = ? AND actor = ?",
        (address, detail, at, event_id, expires_at, key, SES),
    )


def lift(sql: Sql, key: str, *, at: int, by: str, why: str, scope: str = "") -> bool:
    """End the entry with exactly this subject's key and scope; False when there is none in force."""
    found = standing(sql, key, scope)
    if found is None:
        return False
    _end(sql, key, scope, found.reason, at=at, by=by, why=why)
    return True


def last_lifted(sql: Sql, key: str) -> int | None:
    """When a person last lifted what held for all credentials; None when nobody has.

    What a clock that was ahead wrote into the future does not count: no report until then would suppress anybody.
    """
    lifted: int | None = sql.value(
        "SELECT max(ended_at) FROM suppression_history WHERE address_key = ? AND ended_at <= ? AND scope = ''"
        " AND ended_by NOT IN (?, ?)",
        (key, now_micros(), _BY_ITSELF, SES),
    )
    return lifted


def end_scope(sql: Sql, credential: str, *, by: str, why: str, limit: int) -> int:
    """End up to so many of the entries that are for this credential alone; the number ended."""
    rows = sql.all(
        f"SELECT address_key, scope, reason FROM suppressions WHERE scope <> '' AND scope = ? LIMIT ?{sql.to_change}",
        (credential, limit),
    )
    now = now_micros()
    for row in rows:
        _end(sql, _subject_key(row[0], row[1]), row[1], Reason(row[2]), at=now, by=by, why=why)
    return len(rows)


def entries_of(sql: Sql, key: str) -> list[Suppression]:
    """Every entry about exactly this subject, also for credentials that are not there any more.

    Reads all that have a scope, which may be many: for erasing, and outside transactions.
    """
    rows = sql.all(f"{_ONE} UNION ALL {_OF_SCOPES}", (key, len(key) + 1, f"{key}/"))
    return [entry_of(row) for row in rows]


def forget(sql: Sql, row_keys: Sequence[str]) -> int:
    """Delete entries without a history; how many there were."""
    rows = sql.all(f"DELETE FROM suppressions WHERE address_key IN ({marks(row_keys)}) RETURNING reason", row_keys)
    for (reason,) in rows:
        sql.tally(ENDED, reason)
    return len(rows)


def minimise(sql: Sql, key: str, row_keys: Sequence[str]) -> int:
    """Keep of entries about the subject with this key what it takes to honour them; how many there are."""
    return sql.run(
        "UPDATE suppressions SET address = ?, detail = '', note = '', event_id = NULL"
        f" WHERE address_key IN ({marks(row_keys)})",
        (key, *row_keys),
    )


# SQL

_PLAIN = "address, reason, since, source, detail, scope, note, actor, created_at, expires_at, event_id"
FIELDS = f"{_PLAIN}, address_key"
_SCOPE, _EXPIRES_AT, _KEY = 5, 9, 11
_ONE = f"SELECT {FIELDS} FROM suppressions WHERE address_key = ?"
_OF_SCOPES = f"SELECT {FIELDS} FROM suppressions WHERE scope <> '' AND substr(address_key, 1, ?) = ?"
_FIND = f"SELECT {FIELDS} FROM suppressions WHERE address_key IN (?, ?, ?, ?)"
# Few texts, each of which the database knows already: room for so many look-ups, of four keys each.
_AT_ONCE = (1, 4, 16, 64)
_FIND_ALL = {
    size: f"SELECT {FIELDS} FROM suppressions WHERE address_key IN ({marks(range(4 * size))})" for size in _AT_ONCE
}
_INSERT = (
    "INSERT INTO suppressions (address_key, address, reason, source, detail, since, scope, note, actor, created_at,"
    " event_id, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (address_key) DO NOTHING"
)
# In the history the key is the subject's alone: what is asked there is never asked of one credential.
_REMEMBER = (
    f"INSERT INTO suppression_history (address_key, {_PLAIN}, ended_at, ended_by, ended_why)"
    f" SELECT ?, {_PLAIN}, ?, ?, ? FROM suppressions WHERE address_key = ?"
)


def _end(sql: Sql, key: str, scope: str, reason: Reason, *, at: int, by: str, why: str) -> None:
    row_key = entry_key(key, scope)
    sql.run(_REMEMBER, (key, at, by, why, row_key))
    sql.run("DELETE FROM suppressions WHERE address_key = ?", (row_key,))
    sql.tally(ENDED, reason.value)


def _prolong(sql: Sql, row_key: str, ends: int | None, expires_at: int | None) -> bool:
    """Whether the new end is later, and now in force."""
    if ends is None or _later(ends, expires_at) == ends:
        return False
    return sql.run("UPDATE suppressions SET expires_at = ? WHERE address_key = ?", (expires_at, row_key)) > 0


def put_away(sql: Sql, keys: list[str], now: int) -> int:
    """Those of the keys whose time is still over; who has one in hand meanwhile keeps it."""
    rows = sql.all(
        "SELECT address_key, scope, reason, expires_at FROM suppressions"
        f" WHERE address_key IN ({marks(keys)}) AND expires_at <= ?{sql.to_take}",
        (*keys, now),
    )
    for row_key, scope, reason, ends in rows:
        _end(sql, _subject_key(row_key, scope), scope, Reason(reason), at=ends, by=_BY_ITSELF, why=_EXPIRED)
    return len(rows)


def _subject_key(row_key: str, scope: str) -> str:
    return row_key.removesuffix(f"/{scope}") if scope else row_key


def _is_in_force(expires_at: int | None, now: int) -> bool:
    return expires_at is None or expires_at > now


def _outranks(new: Reason, current: Reason) -> bool:
    return new.rank > current.rank


def _later(one: int | None, other: int | None) -> int | None:
    """Of two ends the later; None is never."""
    return None if one is None or other is None else max(one, other)


def _breadth(row: Row) -> tuple[bool, bool]:
    return is_of_domain(row[_KEY]), row[_SCOPE] == ""


def entry_of(row: Row) -> Suppression:
    address, reason, since, source, detail, scope, note, actor, created_at, expires_at, event_id, key = row
    return Suppression(
        address=address,
        reason=Reason(reason),
        since=from_micros(since),
        source=source,
        detail=detail,
        scope=scope,
        note=note,
        actor=actor,
        created_at=None if created_at is None else from_micros(created_at),
        expires_at=None if expires_at is None else from_micros(expires_at),
        event_id=event_id,
        key=key,
    )


def ended_of(row: Row) -> Ended:
    *entry, ended_at, ended_by, ended_why = row
    return Ended(entry_of(tuple(entry)), from_micros(ended_at), ended_by, ended_why)
