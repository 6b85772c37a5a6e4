"""The send rate as a bucket, and the account as the oracle sets it."""

from __future__ import annotations

import pytest

from gateway.sandbox import account
from gateway.sandbox.account import Account, SendRate
from gateway.sandbox.strict import InvalidValueError
from tests.support.sandbox import Sandbox


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_of_one_second_passes_and_no_more():
    clock = Clock()
    rate = SendRate(clock)
    assert [rate.take(1, 5.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_tokens_come_back_with_time():
    clock = Clock()
    rate = SendRate(clock)
    assert all(rate.take(1, 2.0) for _ in range(2))
    assert not rate.take(1, 2.0)
    clock.now += 0.5
    assert rate.take(1, 2.0)
    assert not rate.take(1, 2.0)


def test_many_recipients_pass_at_a_low_rate_and_leave_a_debt():
    clock = Clock()
    rate = SendRate(clock)
    assert rate.take(50, 1.0)
    clock.now += 49.0
    assert not rate.take(1, 1.0)
    clock.now += 1.0
    assert rate.take(1, 1.0)


def test_a_lowered_rate_takes_effect_at_once():
    rate = SendRate(Clock())
    assert rate.take(1, 1000.0)
    assert [rate.take(1, 1.0) for _ in range(3)] == [True, False, False]


def test_nothing_passes_at_rate_zero():
    assert not SendRate(Clock()).take(1, 0.0)


def test_what_is_not_given_has_its_default():
    assert account.parse({"max_send_rate": 14}) == Account(max_send_rate=14.0)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "Send a JSON object."),
        ({"rate": 1}, "Unknown: rate. Known are enforcement_status,"),
        ({"max_send_rate": "fast"}, "max_send_rate is a number of 0 or more, not 'fast'."),
        ({"max_24_hour_send": -2}, "max_24_hour_send is a number of -1 or more, not -2."),
        ({"sending_enabled": 1}, "sending_enabled is true or false, not 1."),
        ({"enforcement_status": "BAD"}, "enforcement_status is one of HEALTHY, PROBATION, SHUTDOWN, not 'BAD'."),
    ],
)
def test_an_odd_account_is_refused_with_a_sentence(given: object, sentence: str):
    with pytest.raises(InvalidValueError) as caught:
        account.parse(given)
    assert str(caught.value).startswith(sentence)


def test_the_account_shows_in_the_api(sandbox: Sandbox):
    sandbox.set_account(max_24_hour_send=200, max_send_rate=1, enforcement_status="PROBATION")
    told = sandbox.client("sesv2").get_account()
    assert told["SendQuota"]["Max24HourSend"] == 200
    assert told["SendQuota"]["MaxSendRate"] == 1
    assert told["EnforcementStatus"] == "PROBATION"
    assert told["ProductionAccessEnabled"] is True
    assert sandbox.client("ses").get_send_quota()["MaxSendRate"] == 1


def test_an_unknown_key_is_400_with_a_sentence(sandbox: Sandbox):
    with pytest.raises(AssertionError, match=r"400 .*Unknown: speed"):
        sandbox.set_account(speed=1)
