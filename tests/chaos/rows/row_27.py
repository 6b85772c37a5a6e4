"""Row 27: wall clocks that jump, together and each program's alone, while summer time begins and ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from tests.chaos.book import wait_for
from tests.chaos.client import Client, Load, addresses
from tests.chaos.clocks import ClockedByHand, build_library, zone_with_summer
from tests.chaos.conclusion import settle
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.chaos.tap import Call, Fault, Tap

_RATE = 40.0  # recipients a second that the account may send
_LOAD = 10.0
_STEP = {Tier.STANDARD: 8.0, Tier.LONG: 60.0}
_PAUSE = 30.0  # the longest that sending may stand still after a jump
_DOUBTS = 3
_RIGHT = timedelta(0)
_FRONT, _WEBHOOK, _WORKERS = ("smtp",), ("webhook",), ("worker1", "worker2")
_ALL = (*_FRONT, *_WORKERS, *_WEBHOOK)


@dataclass(frozen=True)
class Jump:
    """The clocks of some programs are set: from now on they are wrong by `offset`."""

    programs: tuple[str, ...]
    offset: timedelta

    def __str__(self) -> str:
        who = "all" if self.programs == _ALL else " and ".join(self.programs)
        return f"{who} {self.offset.total_seconds() / 3600:+.0f} h"


_JUMPS = (
    Jump(_ALL, timedelta(hours=2)),
    Jump(_ALL, _RIGHT),
    Jump(_ALL, timedelta(hours=-2)),
    Jump(_ALL, timedelta(days=-1)),
    Jump(_ALL, _RIGHT),
    Jump(_FRONT, timedelta(hours=2)),
    Jump(_FRONT, _RIGHT),
    Jump(_WEBHOOK, timedelta(days=-1)),
    Jump(_WEBHOOK, timedelta(hours=2)),
    Jump(_WEBHOOK, _RIGHT),
    Jump(_WORKERS[:1], timedelta(hours=2)),
    Jump(_WORKERS[:1], _RIGHT),
)


@scenario(
    "27",
    title="Clock jumps: +2 h, -2 h and -1 day, of all programs and of single ones; summer time begins and ends",
    passes="L = 0, D = 0, no retry storm, nothing expired or deleted, SNS's reports taken in the end, sending goes on",
    tiers={Tier.STANDARD: 165, Tier.LONG: 900},
)
def clock_jumps(run: Run) -> None:
    site, programs = _build(run)
    assert site.tap is not None
    programs.sandbox.set_account(max_send_rate=_RATE)
    start(site)
    doubted = _leave_in_doubt(site, site.tap)
    with Load([programs.smtp_port], site.ledger, rate=_LOAD):
        for jump in _JUMPS:
            run.say(str(jump))
            for name in jump.programs:
                programs.clocks[name].set(jump.offset)
            _watch(site, jump, _STEP[run.tier])
    settle(run, site.book, 90)
    _check_reports(site)
    _check_calls(run, site.tap)
    _check_nothing_gone(site, doubted)
    site.conclude()


def _build(run: Run) -> tuple[Site, ClockedByHand]:
    now = datetime.now(UTC)
    zone = zone_with_summer(now + timedelta(seconds=40), now + timedelta(seconds=80))
    by_hand = partial(ClockedByHand, library=build_library(run.directory))
    site = build(run, tapped=True, by_hand=by_hand, TZ=zone)
    assert isinstance(site.programs, ClockedByHand)
    return site, site.programs


def _leave_in_doubt(site: Site, tap: Tap) -> set[str]:
    """Some mails whose answers are lost and of which no report comes: they must wait, however the clock jumps."""
    site.programs.sandbox.set_faults(drop_events=["Send", "Delivery"])
    tap.fault = lambda _: Fault.RESET
    client = Client(site.programs.smtp_port, site.ledger)
    doubted = {address for address, _ in zip(addresses(), range(_DOUBTS), strict=False)}
    for address in doubted:
        client.hand_in(address)
    waited = wait_for(lambda: site.book.count("AMBIGUOUS") == _DOUBTS, 30)
    site.run.check(waited is not None, "mails are in doubt")
    tap.fault = lambda _: None
    site.programs.sandbox.set_faults()
    return doubted


def _watch(site: Site, jump: Jump, seconds: float) -> None:
    """Until SES has taken another mail, and some time longer."""
    assert site.tap is not None
    began, before = time.monotonic(), len(site.tap.calls)
    pause = wait_for(_grown(site.tap.calls, before), _PAUSE)
    site.run.check(pause is not None, f"sending goes on after {jump}")
    site.run.figure(f"seconds to the next call after {jump}", round(pause if pause is not None else _PAUSE, 1))
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def _grown(calls: list[Call], before: int) -> Callable[[], bool]:
    """Whether some calls were made since: the first few may have been on their way already."""
    return lambda: len(calls) > before + 3


def _check_reports(site: Site) -> None:
    """Outside the window of time the webhook says 503 and not 403, so that SNS comes again."""
    run, log = site.run, site.programs.log("webhook")
    run.figure("reports put off", log.count("sns.later"))
    run.check("sns.later" in log, "reports outside the window of time are put off")
    run.check("sns.refused" not in log, "no genuine report is refused for good")
    done = wait_for(lambda: site.book.count("DELIVERED") >= len(site.programs.sent()) - _DOUBTS, 90, every=0.5)
    run.figure("seconds until every report was taken in", done if done is not None else "never")
    run.check(done is not None, f"every mail but those in doubt is DELIVERED: {site.book.count('DELIVERED')}")
    run.check(site.book.unfinished_notifications() == 0, "every report is understood")


def _check_calls(run: Run, tap: Tap) -> None:
    busiest = _busiest_second([call.at for call in tap.calls])
    run.figure("most calls within a second", busiest)
    run.check(busiest <= 2 * _RATE, f"no storm: at most twice the limit of {_RATE:.0f} a second, and it was {busiest}")


def _busiest_second(moments: Iterable[float]) -> int:
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] > 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def _check_nothing_gone(site: Site, doubted: set[str]) -> None:
    run, book = site.run, site.book
    statuses = book.statuses()
    run.check(not book.count("EXPIRED", "FAILED", "HELD"), "nothing expired, failed or was set aside")
    run.check({statuses[address] for address in doubted} == {"AMBIGUOUS"}, "what is in doubt waits, and is not resent")
    gone = book.rows("SELECT count(*) FROM messages m LEFT JOIN contents c ON c.message_id = m.id WHERE c.data IS NULL")
    run.check(gone[0][0] == 0, "no content was deleted")
    logs = "".join(site.programs.log(name) for name in _WORKERS)
    run.check("housekeeping.clock_jumped" in logs, "housekeeping saw the clock jump")
    for event in ("housekeeping.failed", "dispatcher.crashed", "dispatcher.work_failed", "Traceback"):
        run.check(event not in logs, f"no {event} in the workers' logs")
    run.check(book.holder() is not None, "a dispatcher is active")
