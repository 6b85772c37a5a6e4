"""Counts for people and monitors, computed from SQL when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from gateway.metrics import AccountLimits, Counts, Dispatching, Gauges, Inbox, Rate, Stops, Waiting, Window
from gateway.reputation import Rates
from gateway.store import depth
from gateway.store.ambiguity import Ambiguity, AmbiguityOutlook
from gateway.store.db import Database
from gateway.store.reputation import Reputation, Standing
from gateway.store.silence import Silence
from gateway.store.sql import Sql
from gateway.store.suppression_rows import BEGUN, ENDED
from gateway.store.times import now_micros


class Reports:
    """What the whole installation looks like at one moment."""

    def __init__(self, db: Database, ambiguity: Ambiguity, reputation: Reputation, silence: Silence) -> None:
        self._db = db
        self._ambiguity = ambiguity
        self._reputation = reputation
        self._silence = silence

    def gauges(self) -> Gauges:
        """StoreUnavailableError when the database cannot be asked."""
        outlook, standings = self._ambiguity.outlook(), self._reputation.standings(with_queue=False)
        hearing = self._silence.listen()
        with self._db.read() as sql:
            tallies = depth.tallies(sql)
            return Gauges(
                waiting=_waiting(sql, outlook),
                counts=_counts(tallies),
                rate=_rate(depth.pace(sql)),
                account=_account(depth.account(sql)),
                stops=_stops(sql, standings),
                windows=_windows(standings),
                inbox=Inbox(
                    evidence_silent=is_silent(outlook),
                    feedback_silent=hearing.is_silent,
                    last_event_age=float("inf") if hearing.last_report_at is None else _age(hearing.last_report_at),
                    unprocessed=depth.unprocessed_notifications(sql),
                    not_understood=depth.notifications_not_understood(sql),
                    suppressions=_suppressions(tallies),
                ),
                dispatching=_dispatching(depth.dispatcher(sql)),
                database_bytes=self._db.size(),
            )


def is_silent(outlook: AmbiguityOutlook) -> bool:
    return outlook.is_silent


def _waiting(sql: Sql, outlook: AmbiguityOutlook) -> Waiting:
    return Waiting(
        recipients=depth.unfinished(sql),
        oldest_age=_age(depth.oldest_accepted_at(sql)),
        oldest_due_age=_age(depth.oldest_due_at(sql, now_micros())),
        oldest_ambiguous_age=_age(outlook.oldest_at),
    )


def _counts(tallies: Mapping[str, Mapping[str, int]]) -> Counts:
    return Counts(
        outcomes=tallies.get("outcomes", {}),
        attempts=tallies.get("attempts", {}),
        ses_errors=tallies.get("ses_errors", {}),
    )


def _suppressions(tallies: Mapping[str, Mapping[str, int]]) -> Mapping[str, int]:
    """In force, by reason: as many as began and have not ended. An expired one counts until it is put away.

    Programs of the release before, while they run beside this one, begin and end some without counting them.
    """
    begun, ended = tallies.get(BEGUN, {}), tallies.get(ENDED, {})
    return {reason: max(0, count - ended.get(reason, 0)) for reason, count in begun.items()}


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
