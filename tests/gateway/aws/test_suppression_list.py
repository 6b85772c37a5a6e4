from __future__ import annotations

from datetime import UTC, datetime

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from gateway.aws import suppression_list
from gateway.aws.session import Aws
from gateway.aws.suppression_list import AccountList, AccountListError, AddressRefusedError, Pace
from gateway.suppression_drift import ListedReason
from tests.support.sandbox import Sandbox


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class OneClient:
    """A boto3 session whose client is made already."""

    def __init__(self, client):
        self._client = client

    def client(self, service, **options):
        return self._client


def account_list(client, pace):
    return AccountList(Aws(session=OneClient(client), sleep=pace.sleep), pace)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(clock=clock, sleep=clock.sleep)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def account(sandbox, pace):
    yield account_list(sandbox.client("sesv2"), pace)
    sandbox.set_faults()


@pytest.fixture
def stubbed(pace):
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client(
        "sesv2", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x", config=config
    )
    with Stubber(client) as stubber:
        yield account_list(client, pace), stubber
        stubber.assert_no_pending_responses()
    client.close()


def test_requests_are_a_second_apart_whoever_is_asked_what(account, clock):
    account.put("pace@example.com", ListedReason.BOUNCE)
    account.get("pace@example.com")
    account.delete("pace@example.com")
    assert clock.slept == [1.0, 1.0]


def test_a_request_that_took_longer_than_the_interval_is_not_waited_for(clock):
    pace = Pace(clock=clock, sleep=clock.sleep)
    pace.wait()
    clock.now += 1.5
    pace.wait()
    assert clock.slept == []


def test_an_entry_is_put_read_and_deleted_by_its_own_spelling(account):
    account.put("Jane@Example.com", ListedReason.COMPLAINT)
    found = account.get("Jane@example.COM")
    assert found is not None
    assert found.address == "Jane@example.com"
    assert found.reason is ListedReason.COMPLAINT
    assert found.updated_at.tzinfo is not None
    assert account.get("jane@example.com") is None
    assert not account.delete("jane@example.com")
    assert account.delete("Jane@example.com")
    assert account.get("Jane@example.com") is None


def test_the_list_is_read_to_its_last_page(account, monkeypatch):
    monkeypatch.setattr(suppression_list, "_PAGE_SIZE", 2)
    addresses = {f"page{number}@example.com" for number in range(5)}
    for address in addresses:
        account.put(address, ListedReason.BOUNCE)
    pages = list(account.pages())
    assert {one.address for page in pages for one in page} >= addresses
    assert all(len(page) <= 2 for page in pages)


def test_an_empty_page_in_the_middle_is_not_the_end(stubbed):
    account, stubber = stubbed
    one = {"EmailAddress": "a@example.com", "Reason": "BOUNCE", "LastUpdateTime": datetime(2026, 1, 1, tzinfo=UTC)}
    stubber.add_response("list_suppressed_destinations", {"SuppressedDestinationSummaries": [], "NextToken": "t"})
    stubber.add_response("list_suppressed_destinations", {"SuppressedDestinationSummaries": [one]})
    assert [len(page) for page in account.pages()] == [0, 1]


def test_throttling_is_waited_out(stubbed, clock):
    account, stubber = stubbed
    for _ in range(3):
        stubber.add_client_error("put_suppressed_destination", "TooManyRequestsException", "slow", 429)
    stubber.add_response("put_suppressed_destination", {})
    account.put("a@example.com", ListedReason.BOUNCE)
    assert len(clock.slept) == 3
    assert clock.slept == sorted(clock.slept)


def test_throttling_that_does_not_end_is_said_in_one_sentence(stubbed):
    account, stubber = stubbed
    for _ in range(6):
        stubber.add_client_error("delete_suppressed_destination", "TooManyRequestsException", "slow", 429)
    with pytest.raises(AccountListError, match="no faster"):
        account.delete("a@example.com")


def test_a_server_error_is_tried_again(account, sandbox, clock):
    sandbox.set_faults(
        error_code="InternalFailure", error_status=500, error_calls=2, error_operations=["PutSuppressedDestination"]
    )
    account.put("again@example.com", ListedReason.BOUNCE)
    assert clock.slept == [2.0, 4.0]


def test_missing_permission_is_named_as_iam_spells_it(stubbed):
    account, stubber = stubbed
    stubber.add_client_error("delete_suppressed_destination", "AccessDeniedException", "You may not", 403)
    with pytest.raises(AccountListError, match="ses:DeleteSuppressedDestination"):
        account.delete("a@example.com")


def test_an_account_in_the_sandbox_of_aws_is_told_what_it_lacks(stubbed):
    account, stubber = stubbed
    stubber.add_client_error("put_suppressed_destination", "BadRequestException", "Bad request", 400)
    stubber.add_response("get_account", {"ProductionAccessEnabled": False})
    with pytest.raises(AccountListError, match="request production access"):
        account.put("a@example.com", ListedReason.BOUNCE)


def test_an_address_that_ses_does_not_take_concerns_no_other(stubbed):
    account, stubber = stubbed
    stubber.add_client_error("put_suppressed_destination", "BadRequestException", "Invalid address", 400)
    stubber.add_response("get_account", {"ProductionAccessEnabled": True})
    with pytest.raises(AddressRefusedError, match="Invalid address"):
        account.put("a@example.com", ListedReason.BOUNCE)


def test_a_list_that_is_refused_although_nobody_says_why_is_an_error_and_not_empty(stubbed):
    account, stubber = stubbed
    stubber.add_client_error("list_suppressed_destinations", "BadRequestException", "Odd", 400)
    stubber.add_client_error("get_account", "AccessDeniedException", "no", 403)
    with pytest.raises(AccountListError, match=r"BadRequestException\): Odd"):
        list(account.pages())


def test_an_endpoint_that_never_answered_is_not_waited_for(aws, pace, clock):
    aws.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(AccountListError, match=r"does not answer at http://127\.0\.0\.1:1"):
        AccountList(Aws(), pace).get("a@example.com")
    assert clock.slept == []


def test_an_endpoint_that_goes_away_is_waited_for(aws, pace, clock):
    with Sandbox() as passing:
        account = account_list(passing.client("sesv2"), pace)
        account.get("a@example.com")
    with pytest.raises(AccountListError, match="does not answer"):
        account.get("a@example.com")
    assert clock.slept[-4:] == [2.0, 4.0, 8.0, 16.0]


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_SESV2", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"AWS_DEFAULT_REGION": None}, "AWS_REGION"),
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL": "no url"}, "could not be asked"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no AWS credentials"),
    ],
)
def test_what_is_not_configured_is_named(aws, pace, missing, said):
    for name, value in missing.items():
        if value is None:
            aws.delenv(name)
        else:
            aws.setenv(name, value)
    with pytest.raises(AccountListError, match=said):
        AccountList(Aws(), pace).get("a@example.com")
