"""Scenario "rate": one rate for the whole installation, by whatever way the mail goes."""

from __future__ import annotations

import bisect
from datetime import datetime

from tests.chaos.client import burst
from tests.chaos.conclusion import settle
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start

_RATE = 14.0
_FACTOR = 0.95  # SESGATE_RATE_FACTOR as it comes
_SECONDS = 180
_MOST_IN_A_SECOND = 28
_LEAST_MEAN = 0.85


@scenario(
    "rate",
    title="14 recipients/s over four worker processes for 3 minutes, with Redis and without, side by side",
    passes="no window of 1 s above 28, mean at least 85 % of the rate; L = 0, D = 0",
    tiers={Tier.STANDARD: 210, Tier.LONG: 230},
)
def steady_rate(run: Run) -> None:
    mails = round(_RATE * _FACTOR * _SECONDS)
    sites = [build(run, name=name) for name in ("with Redis", "without Redis")]
    for site in sites:
        site.programs.sandbox.set_account(max_send_rate=_RATE)
        site.programs.smtp()
        burst([site.programs.smtp_port], site.ledger, mails)
        site.programs.kill("smtp")
    for site in sites:
        start(site, workers=4)
    sites[1].programs.redis.kill()
    for site, name in zip(sites, ("with Redis", "without Redis"), strict=True):
        settle(run, site.book, _SECONDS * 1.5)
        _judge(run, site, name)


def _judge(run: Run, site: Site, name: str) -> None:
    times = sorted(datetime.fromisoformat(copy["accepted_at"]).timestamp() for copy in site.programs.sent())
    busiest = most_in_a_second(times)
    mean = (len(times) - 1) / (times[-1] - times[0])
    run.figure(f"{name}: most in a window of 1 s", busiest)
    run.figure(f"{name}: mean a second", mean)
    run.check(busiest <= _MOST_IN_A_SECOND, f"{name}: {busiest} in one second, at a rate of {_RATE:.0f}")
    run.check(mean >= _LEAST_MEAN * _RATE, f"{name}: {mean:.1f} a second is less than 85 % of {_RATE:.0f}")
    site.conclude()
    for figure in ("acknowledged", "sent", "copies twice", "lost"):
        run.figure(f"{name}: {figure}", run.figures.pop(figure))


def most_in_a_second(times: list[float]) -> int:
    """In the fullest window of one second, wherever it begins."""
    return max((bisect.bisect_left(times, begin + 1.0) - number for number, begin in enumerate(times)), default=0)
