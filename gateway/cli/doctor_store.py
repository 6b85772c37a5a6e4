"""What doctor looks at in the database: the database itself, the dispatcher, what stops sending, what SES reported."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.aws.provisioning.hearing import Heard, latest
from gateway.cli.output import spoken_length, spoken_time
from gateway.cli.queue_look import spoken_quiet
from gateway.cli.settings import masked
from gateway.cli.stops import spoken_stops
from gateway.findings import Finding, Ledger, failed, ok, skipped, warning
from gateway.guard import guard_warning
from gateway.settings import Settings
from gateway.store.control import FEEDBACK_QUEUE, Control, Lease
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.opening import open_database
from gateway.store.queue import Queue, QueueStatus, Stops
from gateway.store.schema import check_schema, require_stamp, stamp_of_environment
from gateway.store.silence import Hearing
from gateway.store.stores import Stores, open_stores

DATABASE: Final = "database"
SCHEMA: Final = "schema"
STAMP: Final = "stamp"
DISPATCHER: Final = "dispatcher"
READER: Final = "queue reader"

_TOLERABLE: Final = 1.0
_TOO_LARGE: Final = 5.0
_GLANCE: Final = 0.2
_LATELY: Final = timedelta(days=1)
_NOT_TAKEN: Final = ("refused", "later", "not-confirmed")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def look_at_database(ledger: Ledger, settings: Settings) -> Stores | None:
    """The open stores, which the caller closes; None when the database is of no use as it is."""
    ledger.check(DATABASE, lambda: _look_at_database(settings))
    ledger.check(SCHEMA, lambda: _look_at_schema(settings), needs=[DATABASE])
    stores = None if ledger.missing([SCHEMA]) else _open(ledger, settings)
    if stores is None:
        if ledger.missing([SCHEMA]):
            ledger.add(skipped(STAMP, f"needs {ledger.missing([SCHEMA])}"))
        return None
    ledger.check(STAMP, lambda: _look_at_stamp(stores.db))
    if not settings.database.startswith("sqlite"):
        ledger.add(_look_at_clock(stores.db))
    return stores


def _open(ledger: Ledger, settings: Settings) -> Stores | None:
    try:
        return open_stores(settings)
    except StoreError as error:
        ledger.add(failed(STAMP, str(error), "Run doctor again."))
        return None


def _look_at_database(settings: Settings) -> Finding:
    where = masked(settings.database)
    fix = "Start it, or correct SESGATE_DATABASE_URL; mail is put off with 451 meanwhile."
    try:
        with closing(open_database(settings.database, settings.gate_timeout.total_seconds())) as database:
            if not database.exists:
                return failed(
                    DATABASE, f"{where} is not there yet", "Run `sesgate migrate`, or `sesgate up`, which does."
                )
            with database.read() as sql:
                sql.value("SELECT 1")
    except StoreError as error:
        return failed(DATABASE, f"{where} cannot be used: {error}", fix)
    return ok(DATABASE, where)


def _look_at_schema(settings: Settings) -> Finding:
    try:
        with closing(open_database(settings.database, settings.gate_timeout.total_seconds())) as database:
            check_schema(database)
    except StoreError as error:
        return failed(SCHEMA, str(error), "Run `sesgate migrate` of the release that runs here, after a backup.")
    return ok(SCHEMA, "it is the one of this release")


def _look_at_stamp(database: Database) -> Finding:
    stamp = stamp_of_environment(os.environ)
    try:
        require_stamp(database, stamp)
    except StoreError as error:
        fix = 'Simulated AWS: run eval "$(sesgate sandbox env)" in this shell. Real AWS: use another data directory.'
        return failed(STAMP, str(error), fix)
    return ok(
        STAMP, "for the simulated AWS, as is the endpoint" if stamp == "sandbox" else "for AWS, as is the endpoint"
    )


def _look_at_clock(database: Database) -> Finding:
    try:
        return judge_database_clock(database.clock_skew())
    except StoreError as error:
        return warning("clock of the database", f"could not be read: {error}", "Run doctor again.")


def judge_database_clock(seconds: float) -> Finding:
    """Marks and claims last a few seconds, and are compared by the clocks of all machines."""
    check = "clock of the database"
    off = f"this machine's is {abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
    fix = "Set both clocks by NTP: what is to be sent is marked for seconds only, and compared by both."
    if abs(seconds) > _TOO_LARGE:
        return failed(check, off, fix)
    return warning(check, off, fix) if abs(seconds) > _TOLERABLE else ok(check, "agrees with ours")


# Work


def look_at_dispatcher(
    control: Control,
    patience: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Finding:
    """By the lease alone, as a standby looks: no wall clock is asked, which may be what is wrong."""
    try:
        first = last = control.read_lease()
        deadline = clock() + patience
        while last == first and clock() < deadline:
            sleep(_GLANCE)
            last = control.read_lease()
    except StoreError as error:
        return failed(DISPATCHER, f"its lease cannot be read: {error}", "Run doctor again.")
    return judge_dispatcher(last, moves=last != first, patience=patience)


def judge_dispatcher(lease: Lease, *, moves: bool, patience: float) -> Finding:
    if moves and lease.holder:
        return ok(DISPATCHER, f"{lease.holder} works")
    fix = (
        "Start a worker: `celery -A tasks worker -P threads`, or `sesgate up`. If one runs, its log says what holds it."
    )
    if not lease.holder:
        return failed(DISPATCHER, "no worker dispatches, so nothing is sent", fix)
    return failed(DISPATCHER, f"{lease.holder} has not moved for {patience:g} s, so nothing is sent", fix)


def judge_sending(stops: Stops, settings: Settings) -> Finding:
    """What people or SES have stopped. That is not broken, but it is why no mail leaves."""
    told = spoken_stops(stops)
    guard = guard_warning(settings)
    if guard is not None and stops.guard is None:
        told.append(guard)
    if told:
        return warning(
            "sending", " ".join(told), "`sesgate queue status` tells more; `sesgate queue resume` lifts a pause."
        )
    return ok("sending", "neither paused nor stopped")


def judge_reader(fact: Mapping[str, Any] | None) -> Finding:
    """What the queue's consumer says of itself."""
    fix = "Start `sesgate feedback-queue` or `sesgate up`, and see its log."
    if fact is None:
        return failed(READER, "nothing has ever read the queue", fix)
    if fact.get("reading"):
        return ok(READER, "reads the queue")
    return failed(READER, f"does not read the queue: {fact.get('reason') or 'no reason is known'}", fix)


def look_at_work(ledger: Ledger, stores: Stores, settings: Settings) -> None:
    """What stops sending, and who reads the queue."""
    try:
        ledger.add(judge_sending(Queue(stores.db).stops(), settings))
        if settings.feedback_queue_url is not None:
            ledger.add(judge_reader(stores.control.get(FEEDBACK_QUEUE)))
    except StoreError as error:
        ledger.add(failed("sending", str(error), "Run doctor again."))


# Reports


def look_at_reports(
    ledger: Ledger, stores: Stores, heard: Mapping[str, Any], chain: Sequence[str], now: datetime
) -> None:
    """What came back from SES. `chain`: the checks without which nothing can."""
    try:
        hearing, status = stores.silence.listen(), Queue(stores.db).status()
    except StoreError as error:
        ledger.add(failed("reports", str(error), "Run doctor again."))
        return
    ledger.check("reports", lambda: judge_reports(hearing, now), needs=chain)
    ledger.add(judge_refusals(heard, now), judge_understanding(status))


def judge_reports(hearing: Hearing, now: datetime) -> Finding:
    if hearing.quiet:
        told = "; ".join(spoken_quiet(one, now).partition(" (")[0] for one in hearing.quiet)
        return failed(
            "reports",
            told,
            "If every link above is well, `sesgate prove` sends mail and tells which step is missing; see the webhook's"
            " log, and the delivery failures of the topic in CloudWatch.",
        )
    if hearing.last_report_at is None:
        return ok("reports", "none yet, and none is overdue")
    return ok("reports", f"the last came {spoken_length(now - hearing.last_report_at)} ago")


def judge_refusals(heard: Mapping[str, Any], now: datetime) -> Finding:
    """The last thing that was not taken, if that was lately."""
    last = _last_not_taken(heard)
    if last is None:
        return ok("refused reports", "none that anybody remembers")
    topic = f" of {last.topic}" if last.topic else ""
    seen = f"{spoken_time(last.at)}{topic}: {last.reason or last.kind}"
    if now - last.at > _LATELY:
        return ok("refused reports", f"none since {seen}")
    return warning(
        "refused reports", seen, "If it was refused, the reason says what to change; what was put off, SNS sends again."
    )


def _last_not_taken(heard: Mapping[str, Any]) -> Heard | None:
    found = []
    for told in (heard.get(program) for program in ("webhook", "queue")):
        kinds = {kind: one for kind, one in told.items() if kind in _NOT_TAKEN} if isinstance(told, dict) else {}
        topics = frozenset(str(one.get("topic")) for one in kinds.values() if isinstance(one, dict))
        last = latest({"webhook": kinds}, topics, _EPOCH)
        found += [last] if last is not None else []
    return max(found, key=lambda one: one.at, default=None)


def judge_understanding(status: QueueStatus) -> Finding:
    check = "understood reports"
    if status.notifications_not_understood:
        return warning(
            check,
            f"{status.notifications_not_understood} stored reports were not understood",
            "`sesgate feedback list` shows them; after an upgrade `sesgate feedback replay` tries them again.",
        )
    return ok(check, f"all; {status.unprocessed_notifications} wait for a worker")
