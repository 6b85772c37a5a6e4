"""Counts for people and monitors, computed from SQL when they are asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from gateway.metrics import AccountLimits, Counts, Dispatching, Gauges, Inbox, Rate, Stops, Waiting, Window
from gateway.reputation import Rates
from gateway.store import depth
from gateway.store.ambiguity import Ambiguity, AmbiguityOutlook
from gateway.store.db import Database
from gateway.store.reputation import Reputation, Standing
from gateway.store.sql import Sql
from gateway.store.times import now_micros

_COUNT_EVERY = 60.0


class Reports:
    """What the whole installation looks like at one moment."""

    def __init__(
        self,
        db: Database,
        ambiguity: Ambiguity,
        reputation: Reputation,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._ambiguity = ambiguity
        self._reputation = reputation
        self._clock = clock
        self._counting = threading.Lock()
        self._counted: tuple[float, Mapping[str, int]] | None = None

    def gauges(self) -> Gauges:
        """StoreUnavailableError when the database cannot be asked."""
        outlook, standings = self._ambiguity.outlook(), self._reputation.standings()
        suppressions = self._suppressions()
        with self._db.read() as sql:
            return Gauges(
                waiting=_waiting(sql, outlook),
                counts=_counts(depth.tallies(sql)),
                rate=_rate(depth.pace(sql)),
                account=_account(depth.account(sql)),
                stops=_stops(sql, standings),
                windows=_windows(standings),
                inbox=Inbox(
                    silent=is_silent(outlook),
                    unprocessed=depth.unprocessed_notifications(sql),
                    not_understood=depth.notifications_not_understood(sql),
                    suppressions=suppressions,
                ),
                dispatching=_dispatching(depth.dispatcher(sql)),
                database_bytes=self._db.size(),
            )

    def _suppressions(self) -> Mapping[str, int]:
        """By reason. No index counts them; they change slowly, and are counted once a minute at most."""
        with self._counting:
            if self._counted is None or self._clock() - self._counted[0] >= _COUNT_EVERY:
                with self._db.read() as sql:
                    rows = sql.all("SELECT reason, count(*) FROM suppressions GROUP BY reason")
                self._counted = (self._clock(), {str(reason): int(count) for reason, count in rows})
            return self._counted[1]


def is_silent(outlook: AmbiguityOutlook) -> bool:
    return outlook.is_silent


def _waiting(sql: Sql, outlook: AmbiguityOutlook) -> Waiting:
    return Waiting(
        recipients=depth.unfinished(sql),
        oldest_age=_age(depth.oldest_accepted_at(sql)),
        oldest_due_age=_age(depth.due(sql, now_micros()).oldest_at),
        oldest_ambiguous_age=_age(outlook.oldest_at),
    )


def _counts(tallies: Mapping[str, Mapping[str, int]]) -> Counts:
    return Counts(
        outcomes=tallies.get("outcomes", {}),
        attempts=tallies.get("attempts", {}),
        ses_errors=tallies.get("ses_errors", {}),
    )


def _rate(pace: depth.Pace | None) -> Rate | None:
    return None if pace is None else Rate(pace.rate, pace.factor)


def _account(seen: depth.AccountSeen | None) -> AccountLimits | None:
    return None if seen is None else AccountLimits(seen.max_send_rate, seen.max_24_hour_send, seen.sent_last_24_hours)


def _stops(sql: Sql, standings: Sequence[Standing]) -> Stops:
    circuit, guard = depth.circuit(sql), depth.staging_guard(sql)
    return Stops(
        circuit=None if circuit is None else circuit.kind,
        paused=depth.is_paused(sql, now_micros()),
        held_credentials={one.credential: one.held_at is not None for one in standings if one.credential is not None},
        captured=None if guard is None else guard.kind,
    )


def _dispatching(state: depth.DispatcherState) -> Dispatching:
    age = float("inf") if state.last_beat_at is None else _age(state.last_beat_at)
    return Dispatching(state.holder, state.epoch, state.beat, age)


def _windows(standings: Sequence[Standing]) -> tuple[Window, ...]:
    def window(standing: Standing, name: str, rates: Rates) -> Window:
        return Window(standing.credential, name, rates.sends, rates.bounces, rates.complaints)

    return tuple(
        each
        for standing in standings
        for each in (window(standing, "day", standing.day), window(standing, "last_thousand", standing.last))
    )


def _age(moment: datetime | None) -> float:
    """Seconds since; never below 0, for the clocks of several machines differ."""
    return 0.0 if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds())
