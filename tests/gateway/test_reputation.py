from __future__ import annotations

import pytest

from gateway.reputation import Limits, Rates, is_counted, verdict

LIMITS = Limits(bounce_rate=0.04, complaint_rate=0.0008, min_sends=1000)


@pytest.mark.parametrize(
    ("rates", "reason"),
    [
        (Rates(0, 0, 0), None),
        (Rates(999, 999, 999), None),
        (Rates(1000, 40, 0), None),  # at the limit is not over it
        (Rates(1000, 41, 0), "41 of 1000 mails of 24 hours bounced: 4.10% (the limit is 4.00%)"),
        (Rates(1000, 0, 4), None),  # 0.4 %, but four may be chance
        (Rates(1000, 0, 5), "5 of 1000 mails of 24 hours were complained of: 0.50% (the limit is 0.08%)"),
        (Rates(100_000, 3_000, 80), None),
        (Rates(100_000, 3_000, 81), "81 of 100000 mails of 24 hours were complained of: 0.08% (the limit is 0.08%)"),
    ],
)
def test_when_a_credential_is_held(rates, reason):
    assert verdict(rates, LIMITS, "24 hours") == reason


def test_a_limit_of_one_is_never_exceeded():
    assert verdict(Rates(1000, 1000, 1000), Limits(1.0, 1.0, 1), "24 hours") is None


def test_rates_of_nothing_are_not_known():
    assert (Rates().bounce_rate, Rates().complaint_rate) == (None, None)
    assert (Rates(200, 10, 1).bounce_rate, Rates(200, 10, 1).complaint_rate) == (0.05, 0.005)


def test_the_simulator_never_counts():
    assert not is_counted("bounce+7@simulator.amazonses.com")
    assert is_counted("bounce@simulator.amazonses.com.example.org")
