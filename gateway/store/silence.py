"""Whether SES still reports on the mail that it takes, asked of the database by a few looks at indexes.

The last report is the newest by its number and not by its time: a clock that was ahead and was set back must not leave
reports in the future, behind which everything would seem well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gateway.feedback import EventKind
from gateway.silence import Evidence, Finding, Policy, find
from gateway.store.db import Database
from gateway.store.sending import ACCEPTED
from gateway.store.sql import Sql
from gateway.store.times import from_micros, now_micros

# How many of the newest events, and of a credential's mails, tell whether its configuration set is reported on.
_EVENTS = 1000
_MAILS = 200


@dataclass(frozen=True, slots=True)
class Quiet:
    """Mail that SES took and did not report on, since the first of it. `has_ever`: whether a report came before.

    `configuration_set` is None for all mail of the installation, empty for what goes with the installation's own.
    """

    configuration_set: str | None
    since: datetime
    has_ever: bool


@dataclass(frozen=True, slots=True)
class Hearing:
    """When the last report was stored, None when none ever was, and where reports stay away."""

    last_report_at: datetime | None
    quiet: tuple[Quiet, ...]
    promised: bool

    @property
    def is_silent(self) -> bool:
        return bool(self.quiet)


class Silence:
    """Looks at what was sent and what came back."""

    def __init__(self, db: Database, policy: Policy) -> None:
        self._db = db
        self._policy = policy

    @property
    def patience(self) -> float:
        """Seconds that reports may stay away."""
        return self._policy.patience / 1_000_000

    def listen(self) -> Hearing:
        with self._db.read() as sql:
            return listen(sql, self._policy, now_micros())


def listen(sql: Sql, policy: Policy, now: int) -> Hearing:
    """For use inside a transaction. What is quiet as a whole is not told of each configuration set again."""
    overall = _overall(sql, now)
    quiet = _quiet(None, overall, policy, now)
    if quiet is None:
        each = ((name, _of_set(sql, ids, now, policy)) for name, ids in _sets(sql).items())
        found = tuple(one for name, evidence in each if (one := _quiet(name, evidence, policy, now)) is not None)
    else:
        found = (quiet,)
    last = overall.last_report_at
    return Hearing(None if last is None else from_micros(last), found, policy.promised or overall.deliveries)


def _quiet(configuration_set: str | None, evidence: Evidence, policy: Policy, now: int) -> Quiet | None:
    finding = find(evidence, policy, now)
    if finding not in (Finding.SILENT, Finding.NEVER) or evidence.unreported_since is None:
        return None
    return Quiet(configuration_set, from_micros(evidence.unreported_since), finding is Finding.SILENT)


def _overall(sql: Sql, now: int) -> Evidence:
    """Any report is a sign of life, also one on mail of another system in the account."""
    last = sql.value("SELECT stored_at FROM events WHERE id > 0 ORDER BY id DESC LIMIT 1")
    heard = max(last or 0, _waiting_report(sql))
    unreported = _unreported(sql, heard, now)
    return Evidence(unreported_since=unreported, last_report_at=last, deliveries=_has_deliveries(sql))


def _waiting_report(sql: Sql) -> int:
    """When the newest notification came, if it still has to be understood: that is a backlog, and no silence."""
    row = sql.one(
        "SELECT received_at, processed_at IS NULL AND next_attempt_at IS NOT NULL FROM notifications"
        " WHERE id > 0 ORDER BY id DESC LIMIT 1"
    )
    return int(row[0]) if row is not None and row[1] else 0


def _unreported(sql: Sql, heard: int, now: int) -> int | None:
    """When the first mail was handed over after that which SES took. Its own report may be stored before its answer."""
    since: int | None = sql.value(
        f"SELECT a.started_at FROM attempts a WHERE a.outcome = '{ACCEPTED}' AND a.started_at > ? AND a.started_at <= ?"
        " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.recipient_id = a.recipient_id)"
        " ORDER BY a.started_at LIMIT 1",
        (heard, now),
    )
    return since


def _has_deliveries(sql: Sql) -> bool:
    newest = f"SELECT kind FROM events WHERE id > 0 ORDER BY id DESC LIMIT {_EVENTS}"
    return sql.value(f"SELECT 1 FROM ({newest}) later WHERE kind = ? LIMIT 1", (EventKind.DELIVERY.value,)) is not None


# Each configuration set by itself


def _sets(sql: Sql) -> dict[str, list[int]]:
    """The credentials of each configuration set; nothing where there is only the installation's."""
    found: dict[str, list[int]] = {}
    for id_, name in sql.all("SELECT id, COALESCE(configuration_set, '') FROM credentials ORDER BY id"):
        found.setdefault(name, []).append(id_)
    return found if set(found) != {""} else {}


def _of_set(sql: Sql, credentials: Iterable[int], now: int, policy: Policy) -> Evidence:
    """By samples, for no index knows which set a mail was sent with. Mail to the mailbox simulator is not among them.

    `unreported_since` may be later than it was, where more mail went without a report than is looked at.
    """
    mails = [mail for credential in credentials for mail in _sample(sql, credential, now - policy.patience)]
    reports = [reported for _, reported in mails if reported is not None]
    reports += [stored for credential in credentials if (stored := _last_event(sql, credential)) is not None]
    last = max(reports, default=None)
    unreported = [taken for taken, reported in mails if reported is None and taken > (last or 0)]
    return Evidence(
        unreported_since=min(unreported, default=None), last_report_at=last, deliveries=_has_deliveries(sql)
    )


def _sample(sql: Sql, credential: int, overdue: int) -> list[tuple[int, int | None]]:
    """Mail on both sides of the moment before which reports are overdue: when SES took it, and its last report."""
    either_side = (("<= ? ORDER BY counted_at DESC", overdue), ("> ? ORDER BY counted_at", overdue))
    return [
        (taken, reported)
        for side, moment in either_side
        for taken, reported in sql.all(
            "SELECT counted_at, (SELECT max(e.stored_at) FROM events e WHERE e.recipient_id = recipients.id)"
            f" FROM recipients WHERE credential_id = ? AND counted_at IS NOT NULL AND counted_at {side} LIMIT {_MAILS}",
            (credential, moment),
        )
    ]


def _last_event(sql: Sql, credential: int) -> int | None:
    """When the last report of a credential's mail was stored, if it is one of the newest of all."""
    newest = f"SELECT id, recipient_id, stored_at FROM events WHERE id > 0 ORDER BY id DESC LIMIT {_EVENTS}"
    stored: int | None = sql.value(
        f"SELECT later.stored_at FROM ({newest}) later JOIN recipients r ON r.id = later.recipient_id"
        " WHERE r.credential_id = ? ORDER BY later.id DESC LIMIT 1",
        (credential,),
    )
    return stored
