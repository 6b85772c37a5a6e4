"""Faults on demand."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from gateway.sandbox import faults
from gateway.sandbox.faults import Faults
from gateway.sandbox.strict import InvalidValueError
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

RAW = b"From: a@example.com\r\nTo: b@example.org\r\n\r\nbody\r\n"


def send(sandbox: Sandbox, **config: Any) -> None:
    sandbox.client("sesv2", **config).send_email(Content={"Raw": {"Data": RAW}})


def outcomes(sandbox: Sandbox, calls: int) -> list[str]:
    told = []
    for _ in range(calls):
        try:
            send(sandbox)
            told.append("ok")
        except ClientError as error:
            told.append(error.response["Error"]["Code"])
        except ConnectionClosedError:
            told.append("closed")
    return told


def test_throttle_counts_down(sandbox: Sandbox):
    sandbox.set_faults(throttle=2)
    assert outcomes(sandbox, 3) == ["TooManyRequestsException"] * 2 + ["ok"]


def test_throttle_can_last(sandbox: Sandbox):
    sandbox.set_faults(throttle=True)
    assert outcomes(sandbox, 3) == ["TooManyRequestsException"] * 3
    sandbox.set_faults()
    assert outcomes(sandbox, 1) == ["ok"]


def test_v1_throttles_with_its_own_code(sandbox: Sandbox):
    sandbox.set_faults(throttle=1)
    with pytest.raises(ClientError) as caught:
        sandbox.client("ses").send_raw_email(RawMessage={"Data": RAW})
    assert caught.value.response["Error"] == {
        "Type": "Sender",
        "Code": "Throttling",
        "Message": "Maximum sending rate exceeded.",
    }


@pytest.mark.parametrize(("status", "code"), [(500, "InternalFailure"), (503, "ServiceUnavailable"), (504, None)])
def test_an_error_status_accepts_nothing(sandbox: Sandbox, status: int, code: str | None):
    before = len(sandbox.messages())
    sandbox.set_faults(error_rate=1, error_status=status)
    with pytest.raises(ClientError) as caught:
        send(sandbox)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert code in {caught.value.response["Error"]["Code"], None}
    assert len(sandbox.messages()) == before


def test_an_error_rate_strikes_some_calls(sandbox: Sandbox):
    sandbox.set_faults(error_rate=0.5)
    assert set(outcomes(sandbox, 40)) == {"ok", "InternalFailure"}


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDeniedException", 403), ("MessageRejected", 400), ("ExpiredTokenException", 403)]
)
def test_any_named_error_can_be_raised_on_the_next_calls(sandbox: Sandbox, code: str, status: int):
    sandbox.set_faults(error_code=code, error_calls=2, error_message="as asked")
    with pytest.raises(ClientError) as caught:
        send(sandbox)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["Error"]["Message"] == "as asked"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert outcomes(sandbox, 2) == [code, "ok"]


def test_errors_can_strike_other_operations(sandbox: Sandbox):
    sandbox.set_faults(error_code="AccessDeniedException", error_operations=["GetAccount"])
    assert outcomes(sandbox, 1) == ["ok"]
    with pytest.raises(ClientError):
        sandbox.client("sesv2").get_account()


def test_a_reset_after_accept_keeps_the_copy_and_gives_no_answer(sandbox: Sandbox):
    sandbox.clear()
    sandbox.set_faults(reset_after_accept=2)
    assert outcomes(sandbox, 3) == ["closed", "closed", "ok"]
    assert len(sandbox.messages()) == 3


def test_a_reset_after_accept_can_be_a_rate(sandbox: Sandbox):
    sandbox.clear()
    sandbox.set_faults(reset_after_accept=0.5)
    assert set(outcomes(sandbox, 40)) == {"closed", "ok"}
    assert len(sandbox.messages()) == 40


def test_a_truncated_answer_after_accept_is_a_success_without_a_message_id(sandbox: Sandbox):
    sandbox.clear()
    sandbox.set_faults(truncate_after_accept=1)
    assert "MessageId" not in sandbox.client("sesv2").send_email(Content={"Raw": {"Data": RAW}})
    assert len(sandbox.messages()) == 1
    assert outcomes(sandbox, 1) == ["ok"]


def test_a_stall_after_accept_keeps_the_copy(sandbox: Sandbox):
    sandbox.clear()
    sandbox.set_faults(timeout_after_accept_ms=2_000)
    with pytest.raises(ReadTimeoutError):
        send(sandbox, read_timeout=0.2)
    until(lambda: len(sandbox.messages()) == 1)


def test_latency_delays_every_call(sandbox: Sandbox):
    sandbox.set_faults(latency_ms=2_000)
    with pytest.raises(ReadTimeoutError):
        sandbox.client("sesv2", read_timeout=0.2).get_account()


def test_what_is_not_given_is_off():
    assert faults.parse({"throttle": 3}) == Faults(throttle=3)
    assert faults.parse({}) == Faults()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"latency": 1}, "Unknown: latency. Known are "),
        ({"latency_ms": -1}, "latency_ms is a number of 0 or more, not -1."),
        ({"throttle": 1.5}, "throttle is true, false, a whole number"),
        ({"error_rate": 2}, "error_rate is a rate from 0 to 1, not 2."),
        ({"error_status": 200}, "error_status is an HTTP status from 400 to 599, not 200."),
        ({"duplicates": True}, "duplicates is a whole number of 0 or more, not True."),
        ({"duplicate_message_ids": "some"}, "duplicate_message_ids is one of same, different, not 'some'."),
        ({"drop_events": ["Bounced"]}, "drop_events has no Bounced. Known are Send,"),
        ({"drop_events": "Send"}, "drop_events is a list of texts, not 'Send'."),
    ],
)
def test_an_odd_fault_is_refused_with_a_sentence(given: object, sentence: str):
    with pytest.raises(InvalidValueError) as caught:
        faults.parse(given)
    assert str(caught.value).startswith(sentence)


def test_an_unknown_fault_is_400_with_a_sentence(sandbox: Sandbox):
    with pytest.raises(AssertionError, match=r"400 .*Unknown: latency"):
        sandbox.set_faults(latency=1)
