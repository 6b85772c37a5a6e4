"""The sender with the real boto3 against the simulated AWS: one answer of each class, and what becomes of the mail.

The sandbox counts its faults down, so what is left of them tells how many calls were made.
"""

from __future__ import annotations

import pytest
import urllib3

from gateway.store.control import CIRCUIT, THROTTLE
from tasks.sending import Sender
from tasks.ses import SesClient
from tests.support.mail import accept, change, column, mark, rows, status
from tests.support.sandbox import Sandbox

FAULTS = 9
BACKOFF = (1.6, 2.4)
AT_ONCE = (0.0, 0.0)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def aws(sandbox, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_SESV2", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": sandbox.endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    sandbox.clear()
    sandbox.set_faults()
    sandbox.set_account()
    return sandbox


def calls_left(sandbox, name):
    return urllib3.request("GET", f"{sandbox.endpoint}/_sandbox/faults", timeout=10).json()[name]


@pytest.fixture
def sender(aws, stores):
    return Sender(stores, SesClient("sesgate", threads=2, read_timeout=10), "gateway.example")


def send(stores, sender):
    """One attempt; the recipient's status, reason, number of attempts, and the seconds to the next one."""
    (id_,) = accept(stores, "a@example.com")
    mark(stores, id_)
    sender.send(id_)
    wait = (column(stores, id_, "next_attempt_at") - column(stores, id_, "changed_at")) / 1_000_000
    return status(stores, id_), column(stores, id_, "reason"), column(stores, id_, "attempts"), wait


NAMED = [
    ("MessageRejected", "Address Blacklisted", "FAILED", 1, None),
    ("BadRequestException", "Illegal address", "FAILED", 1, None),
    ("RequestEntityTooLarge", "Too large", "FAILED", 1, None),
    ("SomethingNew", "Never heard of", "HELD", 1, None),
    ("InternalFailure", "Oops", "AMBIGUOUS", 1, None),
    ("MessageRejected", "Email address is not verified. The following ...", "QUEUED", 1, BACKOFF),
    ("MailFromDomainNotVerifiedException", "MX", "QUEUED", 1, BACKOFF),
    ("ServiceUnavailable", "Later", "QUEUED", 1, BACKOFF),
    ("TooManyRequestsException", "Maximum sending rate exceeded.", "QUEUED", 0, (1.0, 3.0)),
    ("ThrottlingException", "Maximum sending rate exceeded.", "QUEUED", 0, (1.0, 3.0)),
    ("ThrottlingException", "Daily message quota exceeded.", "QUEUED", 0, AT_ONCE),
    ("LimitExceededException", "Daily message quota exceeded.", "QUEUED", 0, AT_ONCE),
    ("SendingPausedException", "Paused", "QUEUED", 0, AT_ONCE),
    ("MessageRejected", "Sending paused for this account.", "QUEUED", 0, AT_ONCE),
    ("NotFoundException", "Configuration set <x> does not exist.", "QUEUED", 0, AT_ONCE),
    ("AccessDeniedException", "Not authorized", "QUEUED", 0, AT_ONCE),
    ("RequestTimeTooSkewed", "Skewed", "QUEUED", 0, AT_ONCE),
]


@pytest.mark.parametrize(("code", "text", "becomes", "attempts", "wait"), NAMED)
def test_what_becomes_of_a_mail_that_ses_answers_with(aws, stores, sender, code, text, becomes, attempts, wait):
    aws.set_faults(error_code=code, error_message=text, error_calls=FAULTS)
    end, reason, counted, waits = send(stores, sender)
    assert (end, counted) == (becomes, attempts)
    assert reason.startswith(f"SES answered {code}: {text}")
    assert calls_left(aws, "error_calls") == FAULTS - 1
    assert aws.messages() == []
    if wait is not None:
        assert wait[0] - 0.5 <= waits <= wait[1] + 5, "the tolerance is for two readings of the clock on a busy machine"
    circuit, throttle = stores.control.get(CIRCUIT), stores.control.get(THROTTLE)
    assert (circuit or {}).get("kind") == (None if wait is not AT_ONCE else "quota" if "quota" in text else "account")
    assert (throttle is not None) is ("rate exceeded" in text)


@pytest.mark.parametrize(
    ("status_", "becomes"), [(500, "AMBIGUOUS"), (502, "AMBIGUOUS"), (504, "AMBIGUOUS"), (503, "QUEUED")]
)
def test_what_becomes_of_a_mail_that_is_answered_with_a_status(aws, stores, sender, status_, becomes):
    aws.set_faults(error_rate=1.0, error_status=status_)
    assert send(stores, sender)[0::2] == (becomes, 1)
    assert stores.control.get(CIRCUIT) is None


@pytest.mark.parametrize("fault", ["reset_after_accept", "truncate_after_accept"])
def test_an_answer_that_is_lost_leaves_one_copy_and_a_mail_of_unknown_fate(aws, stores, sender, fault):
    aws.set_faults(**{fault: FAULTS})
    assert send(stores, sender)[0::2] == ("AMBIGUOUS", 1)
    assert calls_left(aws, fault) == FAULTS - 1
    assert len(aws.messages()) == 1


def test_an_account_whose_quota_is_used_up_opens_the_circuit_of_the_quota(aws, stores, sender):
    aws.set_account(max_24_hour_send=1)
    assert send(stores, sender)[0] == "SENT"
    assert send(stores, sender)[0::2] == ("QUEUED", 0)
    assert stores.control.get(CIRCUIT)["kind"] == "quota"
    assert len(aws.messages()) == 1


def test_an_account_that_is_paused_sends_again_when_the_probe_is_taken(aws, stores, sender):
    aws.set_account(sending_enabled=False)
    (id_,) = accept(stores, "a@example.com")
    mark(stores, id_)
    sender.send(id_)
    assert stores.control.get(CIRCUIT)["kind"] == "account"
    aws.set_account()
    mark(stores, id_)
    sender.send(id_)
    assert aws.messages() == []
    change(stores, "UPDATE control SET until = 0 WHERE key = ?", CIRCUIT)
    sender.send(id_)
    assert (status(stores, id_), column(stores, id_, "attempts")) == ("SENT", 1)
    assert stores.control.get(CIRCUIT) is None
    assert len(aws.messages()) == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
def test_credentials_that_expired_once_cost_one_more_call_and_no_attempt_more(aws, stores, sender, code):
    aws.set_faults(error_code=code, error_calls=1)
    assert send(stores, sender)[0::2] == ("SENT", 1)
    assert len(aws.messages()) == 1
    assert rows(stores, "SELECT outcome FROM attempts") == [("accepted",)]


def test_credentials_that_stay_expired_open_the_circuit_after_two_calls(aws, stores, sender):
    aws.set_faults(error_code="ExpiredTokenException", error_calls=FAULTS)
    assert send(stores, sender)[0::2] == ("QUEUED", 0)
    assert calls_left(aws, "error_calls") == FAULTS - 2
    assert stores.control.get(CIRCUIT)["kind"] == "account"


def test_a_set_that_does_not_exist_makes_the_mail_of_its_credential_wait_and_no_other(stores, sender):
    stores.credentials.add("shop", actor="ann", configuration_set="no-such-set")
    waits, goes = *accept(stores, credential="shop"), *accept(stores)
    mark(stores, waits, goes)
    sender.send(waits)
    sender.send(goes)
    assert (status(stores, waits), status(stores, goes)) == ("QUEUED", "SENT")
    assert "look at the configuration set" in column(stores, waits, "reason")
