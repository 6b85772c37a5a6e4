"""Row 26: who bounced or complained is not mailed again, whatever waits for that address already."""

from __future__ import annotations

import random
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.book import wait_for
from tests.chaos.conclusion import settle
from tests.chaos.reporter import Reporter, event
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.chaos.tap import Call, Refusal, Tap
from tests.support.installation import mail
from tests.support.waiting import until

_ADDRESSES = {Tier.SHORT: 4, Tier.STANDARD: 60, Tier.LONG: 400}
_MAILS_EACH = {Tier.SHORT: 5, Tier.STANDARD: 8, Tier.LONG: 8}
_RATE = {Tier.SHORT: 6.0, Tier.STANDARD: 8.0, Tier.LONG: 20.0}  # recipients a second: most of the mail waits
_GRACE = 5.0  # seconds from the 200 to the last call that may begin
_FAILING = 0.4  # of the calls: what they were for waits for its retry
_TAGGED = 0.7  # of the reports carry our attempt id
_BUSY = Refusal("ServiceUnavailable", "Busy.", 503)


@scenario(
    "26",
    title="Suppression is absolute: bounces and complaints while mail for these addresses is queued or in retry",
    passes="0 calls to SES started more than 5 s after the event's 200",
    tiers={Tier.SHORT: 11, Tier.STANDARD: 90, Tier.LONG: 300},
)
def suppression_is_absolute(run: Run) -> None:
    site = build(run, tapped=True)
    assert site.tap is not None
    site.programs.sandbox.set_faults(drop_events=["Bounce", "Complaint", "Delivery", "Send"])
    site.programs.sandbox.set_account(max_send_rate=_RATE[run.tier])
    start(site, workers=1 if run.tier is Tier.SHORT else 2)
    site.tap.fault = _OneEach() if run.tier is Tier.SHORT else _sometimes_busy
    addresses = [f"reader{number}@example.com" for number in range(_ADDRESSES[run.tier])]
    _hand_in(site.programs.smtp_port, _side_by_side(addresses * _MAILS_EACH[run.tier]))
    with Reporter(site.programs) as reporter:
        reports = _Reports(site, reporter)
        _report_on_each(run, reports, addresses)
    waiting = site.book.count("QUEUED", "SENDING")
    understood = wait_for(lambda: not (site.book.unfinished_notifications() or site.book.count("SENDING")), 60)
    run.check(understood is not None, "every report is understood")
    site.tap.fault = lambda _: None
    site.programs.sandbox.set_account(max_send_rate=200)
    settle(run, site.book, 120)
    run.figure("mails", len(addresses) * _MAILS_EACH[run.tier])
    run.figure("waiting when the last report came", waiting)
    _check(site, site.tap, reports, addresses)


def _sometimes_busy(_call: Call) -> Refusal | None:
    return _BUSY if random.random() < _FAILING else None


class _OneEach:
    """SES takes one mail for each address, and is busy for all the others: however slow the machine is, they wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[str] = set()

    def __call__(self, call: Call) -> Refusal | None:
        with self._lock:
            if call.address in self._taken:
                return _BUSY
            self._taken.add(call.address)
            return None


def _side_by_side(mails: list[str]) -> list[str]:
    """In an order in which mails for one address stand close together: more are due when the first is reported."""
    place = {address: number // 3 for number, address in enumerate(sorted(set(mails)))}
    return sorted(mails, key=lambda address: place[address] + random.random())


def _hand_in(port: int, addresses: Iterable[str]) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        for number, address in enumerate(addresses):
            refused = client.sendmail("app@example.com", address, mail(f"{number}"))
            assert not refused, refused


@dataclass
class _Reports:
    """What was reported, and when the webhook said 200 to it, on the monotonic clock of the tap."""

    site: Site
    reporter: Reporter
    answered: dict[str, float] = field(default_factory=dict)
    held_before: Counter[str] = field(default_factory=Counter)

    def about(self, copy: dict[str, Any]) -> None:
        kind = random.choice(("Bounce", "Complaint"))
        address = copy["recipients"][0]
        # Without our tag a report may have to wait for its mail to become known; its address must not wait.
        tagged = self.site.run.tier is Tier.SHORT or random.random() < _TAGGED
        (delivery,) = self.reporter.deliver([self.reporter.body(event(copy, kind, tagged=tagged))])
        when = delivery.result()
        assert when is not None, f"the {kind} of {address} was not taken"
        self.answered[address] = when
        waiting = "SELECT count(*) FROM recipients WHERE address = ? AND status IN ('QUEUED', 'SENDING')"
        self.held_before[address] = int(self.site.book.rows(waiting, address)[0][0])


def _report_on_each(run: Run, reports: _Reports, addresses: list[str]) -> None:
    """A report on the first copy that SES takes for an address, while the others wait. Half of it without a broker."""
    redis = reports.site.programs.redis
    while len(reports.answered) < len(addresses):
        (first, *_) = until(lambda: _unreported(reports), seconds=60, what="SES accepts a mail for another address")
        reports.about(first)
        if len(reports.answered) == len(addresses) // 2:
            run.say("Redis is away from now on")
            redis.kill()


def _unreported(reports: _Reports) -> list[dict[str, Any]]:
    return [copy for copy in reports.site.programs.sent() if copy["recipients"][0] not in reports.answered]


def _check(site: Site, tap: Tap, reports: _Reports, addresses: list[str]) -> None:
    run = site.run
    late = [call for call in tap.calls if _seconds_after(call, reports) > _GRACE]
    after = [seconds for call in tap.calls if (seconds := _seconds_after(call, reports)) > 0]
    run.figure("mails waiting for an address when it was reported", reports.held_before.total())
    run.figure("calls after the 200", len(after))
    run.figure("seconds from the 200 to the last call", max(after, default=0.0))
    run.check(reports.held_before.total() > len(addresses), "mail was waiting for the addresses that were reported")
    if run.tier is not Tier.SHORT:  # what a busy machine does in five seconds is no matter of `make test`
        run.check(not late, f"no call started more than {_GRACE:.0f} s after the 200, but for {len(late)}")
    suppressed = site.book.count("SUPPRESSED")
    run.figure("became SUPPRESSED", suppressed)
    run.check(suppressed > 0, "waiting mail became SUPPRESSED")
    if run.tier is Tier.SHORT:
        copies = len(site.programs.sent())
        run.check(
            copies == len(addresses), f"SES took one mail for each address before the report, and {copies} at all"
        )
    refused = [address for address in addresses if _is_refused(site.programs.smtp_port, address)]
    run.check(len(refused) == len(addresses), "new mail for these addresses is refused with 550")


def _seconds_after(call: Call, reports: _Reports) -> float:
    return call.at - reports.answered.get(call.address, time.monotonic())


def _is_refused(port: int, address: str) -> bool:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo("client.example.com")
        client.mail("app@example.com")
        return client.rcpt(address)[0] == 550
