"""Row 25: what SNS reports takes effect, and takes effect once, whatever happens to the webhook meanwhile."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from gateway.store.gate import WriteGate
from tests.chaos import killing_webhook
from tests.chaos.book import wait_for
from tests.chaos.client import burst
from tests.chaos.conclusion import settle
from tests.chaos.reporter import Json, Reporter, event
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.support.waiting import until

_MAILS = {Tier.SHORT: 24, Tier.STANDARD: 300, Tier.LONG: 3_000}
_AWAY = {Tier.SHORT: 2.0, Tier.STANDARD: 30.0, Tier.LONG: 30.0}
_KILLS = {Tier.SHORT: 1, Tier.STANDARD: 8, Tier.LONG: 50}
_ANSWERS_AFTER_MS = 1_500  # SES has the mail that long before the worker knows
_TIMES = 3
_MAX_BODY = 512 * 1024

_COURSES = (("Send", "Delivery"), ("Send", "Bounce"), ("Send", "Delivery", "Complaint"))
Course = tuple[str, ...]
Delivery = Future[float | None]
Away = Callable[[], AbstractContextManager[None]]

_BECOMES = {"Delivery": "DELIVERED", "Bounce": "BOUNCED", "Complaint": "COMPLAINED"}


@scenario(
    "25",
    title="Webhook reliability: each event three times, shuffled, early; SQLite locked, Redis down, webhook killed",
    passes="effect = once; 5xx and never 4xx while the database is away; 0 events lost; a body too large is not read",
    tiers={Tier.SHORT: 14, Tier.STANDARD: 110, Tier.LONG: 600},
)
def webhook_over_sqlite(run: Run) -> None:
    site = _build(run)
    _play(site, lambda: _locked(site.programs.directory / "sesgate.db-gate"))


@scenario(
    "25-postgresql",
    title="Webhook reliability, with PostgreSQL stopped",
    passes="effect = once; 5xx and never 4xx while the database is away; 0 events lost",
    tiers={Tier.STANDARD: 110, Tier.LONG: 600},
)
def webhook_over_postgresql(run: Run) -> None:
    site = _build(run, postgres=True)
    _play(site, lambda: _stopped(site))


def _build(run: Run, *, postgres: bool = False) -> Site:
    orders = run.directory / "kills"
    orders.mkdir()
    patience = "1s" if run.tier is Tier.SHORT else "5s"
    environment: dict[str, Any] = killing_webhook.environment(orders)
    return build(run, postgres=postgres, SESGATE_GATE_TIMEOUT=patience, **environment)


def _play(site: Site, database_away: Away) -> None:
    run = site.run
    start(site, workers=1 if run.tier is Tier.SHORT else 2)
    dropped = sorted({"Send", *_BECOMES})
    site.programs.sandbox.set_faults(timeout_after_accept_ms=_ANSWERS_AFTER_MS, drop_events=dropped)
    _check_sizes(site)
    burst([site.programs.smtp_port], site.ledger, _MAILS[run.tier])
    with Reporter(site.programs, patience=max(60.0, 4 * _AWAY[run.tier])) as reporter:
        courses, calm_since = _report_all(site, reporter, database_away)
        _check_answers(run, reporter, calm_since)
    settle(run, site.book, 60)
    _check_effects(site, courses)
    site.conclude()


# The reports


def _report_all(site: Site, reporter: Reporter, database_away: Away) -> tuple[dict[str, Course], float]:
    """Report on every copy, first as soon as SES has it, amid all troubles; what was reported, by address.

    And since when nothing was wrong any more.
    """
    run = site.run
    run.say("Redis is away, and the webhook is killed between commit and answer")
    site.programs.redis.kill()
    for number in range(_KILLS[run.tier]):
        (run.directory / "kills" / str(number)).touch()
    courses, kept, deliveries = _report_early(site, reporter)
    until(lambda: not any((run.directory / "kills").iterdir()), seconds=60, what="the webhook was killed")
    _wait(deliveries)
    run.say("the database is away")
    with database_away():
        deliveries += reporter.deliver(kept[::2])
        time.sleep(_AWAY[run.tier])
        until(lambda: reporter.statuses()[503], what="the webhook says 503")
    _wait(deliveries)
    site.programs.redis.start()
    calm_since = time.monotonic()
    deliveries += reporter.deliver(kept[1::2])
    lost = sum(when is None for when in _wait(deliveries))
    run.figure("notifications delivered", len(deliveries))
    run.check(lost == 0, f"every delivery had its 200 in the end, but for {lost}")
    return courses, calm_since


def _report_early(site: Site, reporter: Reporter) -> tuple[dict[str, Course], list[bytes], list[Delivery]]:
    """Follow the oracle, and deliver some of the bodies at once; the others are for later."""
    run, courses, course_of_next = site.run, dict[str, Course](), cycle(_COURSES)
    kept, deliveries, early = list[bytes](), list[Delivery](), 0
    deadline = time.monotonic() + 60 + _MAILS[run.tier] / 5
    while len(courses) < _MAILS[run.tier]:
        assert time.monotonic() < deadline, f"SES accepted {len(courses)} mails only"
        copies = site.programs.sent()[len(courses) :]
        early += sum(not _is_known(site, copy) for copy in copies)
        bodies = []
        for copy in copies:
            course = courses[copy["recipients"][0]] = next(course_of_next)
            bodies += [body for kind in course for body in _repeated(reporter, event(copy, kind))]
        random.shuffle(bodies)
        deliveries += reporter.deliver(bodies[: len(bodies) // _TIMES])
        kept += bodies[len(bodies) // _TIMES :]
        time.sleep(0.1)
    random.shuffle(kept)
    run.figure("copies reported on before the send was recorded", early)
    run.check(early > 0, "events arrived before the send was recorded")
    return courses, kept, deliveries


def _repeated(reporter: Reporter, one: Json) -> list[bytes]:
    """One event three times: delivered twice by SNS, and published twice by SES."""
    twice = reporter.body(one)
    return [twice] * (_TIMES - 1) + [reporter.body(one)]


def _is_known(site: Site, copy: Json) -> bool:
    return bool(site.book.rows("SELECT 1 FROM attempts WHERE ses_message_id = ?", copy["id"]))


def _wait(deliveries: list[Delivery]) -> list[float | None]:
    return [delivery.result() for delivery in deliveries]


# The troubles


@contextmanager
def _locked(gate: Path) -> Iterator[None]:
    """Nobody writes while the write gate is held here."""
    assert gate.exists()
    with WriteGate(gate).held():
        yield


@contextmanager
def _stopped(site: Site) -> Iterator[None]:
    assert site.postgres is not None
    site.postgres.stop("fast")
    try:
        yield
    finally:
        site.postgres.start()


# What is checked


def _check_answers(run: Run, reporter: Reporter, calm_since: float) -> None:
    statuses = reporter.statuses()
    for status, number in sorted(statuses.items()):
        run.figure(f"answers {status}" if status else "no answer", number)
    run.check(not any(400 <= status < 500 for status in statuses), "no genuine notification is ever answered 4xx")
    run.check(statuses[503] > 0, "503 is answered while the database is away")
    run.check(statuses[0] > 0, "a webhook that was killed gave no answer")
    waits = sorted(answer.seconds for answer in reporter.answers if answer.began >= calm_since)
    usual = waits[int(0.99 * (len(waits) - 1))]
    run.figure("seconds to the answer, 99th percentile", usual)
    run.check(run.tier is Tier.SHORT or usual <= 1, "with nothing wrong, 99 of 100 answers come within a second")


def _check_effects(site: Site, courses: Mapping[str, Course]) -> None:
    run, book = site.run, site.book
    run.figure("workers started again", _start_again(site))
    understood = wait_for(lambda: book.unfinished_notifications() == 0, 60)
    run.check(understood is not None, "every notification is understood in the end")
    expected = {address: _BECOMES[course[-1]] for address, course in courses.items()}
    different = sorted(set(book.statuses().items()) - set(expected.items()))
    run.check(not different, f"every status is what was reported, but for {len(different)}: {different[:3]}")
    wanted = Counter(kind for course in courses.values() for kind in course)
    stored = Counter(dict(book.rows("SELECT kind, count(*) FROM events GROUP BY kind")))
    run.figure("events", stored.total())
    run.check(stored == wanted, f"each event is stored once: {dict(stored)} of {dict(wanted)}")
    blamed = {address for address, course in courses.items() if course[-1] in ("Bounce", "Complaint")}
    suppressed = {row[0] for row in book.rows("SELECT address FROM suppressions")}
    run.check(suppressed == blamed, "exactly those are suppressed that bounced or complained")
    attempts = book.rows("SELECT count(*) FROM attempts")[0][0]
    run.check(attempts == len(courses), f"each mail was tried once: {attempts} attempts")


def _start_again(site: Site) -> int:
    """What ended by itself is started again, as every supervisor does; the number of programs."""
    ended = [name for name in site.programs.running() if site.programs.has_ended(name)]
    for name in ended:
        site.programs.stop(name)
        site.programs.again(name)
    return len(ended)


def _check_sizes(site: Site) -> None:
    """A body too large is refused by what it says of its length, or as soon as it is longer."""
    port = site.programs.webhook_port
    status, _ = _post(port, f"Content-Length: {_MAX_BODY + 1}\r\n", pieces=0)
    site.run.check(status == 413, f"a body of 512 KiB and one octet is answered 413 before it is sent: {status}")
    status, sent = _post(port, "Transfer-Encoding: chunked\r\n", pieces=400)
    site.run.check(status == 413, f"a body without end is answered 413: {status}")
    site.run.figure("octets sent of a body without end", sent)
    site.run.check(sent < 400 * 65536, "a body without end is not read whole")


def _post(port: int, header: str, *, pieces: int) -> tuple[int, int]:
    """The status, and the octets that could be sent until the webhook stopped listening."""
    piece, sent = b"10000\r\n" + b"A" * 65536 + b"\r\n", 0
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(f"POST /sns HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode())
        try:
            for _ in range(pieces):
                connection.sendall(piece)
                sent += 65536
        except OSError:
            pass
        return _status(connection), sent


def _status(connection: socket.socket) -> int:
    try:
        first = until(lambda: connection.recv(4096), seconds=15)
    except OSError:
        return 0  # it was reset before the answer could be read
    return int(first.split()[1])
