from __future__ import annotations

import pytest

from gateway.aws.account import Account, AccountUnknownError, read_account
from tests.support.sandbox import Sandbox


@pytest.fixture
def aws(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_SESV2"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_account_tells_its_rate_and_quota(aws):
    with Sandbox() as sandbox:
        sandbox.set_account(max_send_rate=14, max_24_hour_send=50000)
        aws.setenv("AWS_ENDPOINT_URL", sandbox.endpoint)
        account = read_account()
    assert (account.max_send_rate, account.max_24_hour_send, account.sent_last_24_hours) == (14.0, 50000.0, 0.0)
    assert account.sending_enabled
    assert account.production_access
    assert account.as_fact()["max_send_rate"] == 14.0


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        {"AWS_ENDPOINT_URL": "no url"},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_PROFILE": "missing"},
    ],
)
def test_an_account_that_cannot_be_asked_is_unknown(aws, environ):
    aws.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name, value in environ.items():
        aws.setenv(name, value)
    with pytest.raises(AccountUnknownError):
        read_account()


@pytest.mark.parametrize(
    ("quota", "sent", "capacity"),
    [(200.0, 0.0, True), (200.0, 199.0, True), (200.0, 200.0, False), (200.0, 203.0, False), (-1.0, 1e9, True)],
)
def test_an_account_has_capacity_while_less_was_sent_than_its_quota_allows(quota, sent, capacity):
    account = Account(
        max_send_rate=14.0,
        max_24_hour_send=quota,
        sent_last_24_hours=sent,
        sending_enabled=True,
        production_access=True,
        enforcement_status="HEALTHY",
    )
    assert account.has_capacity is capacity
