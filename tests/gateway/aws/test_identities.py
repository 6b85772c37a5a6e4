from __future__ import annotations

import pytest

from gateway.aws import identities
from gateway.aws.identities import IdentitiesUnknownError, IdentityList, IdentityListing, IdentityPage, read_identities
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def aws(sandbox, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_SESV2"):
        monkeypatch.delenv(name, raising=False)
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    sandbox.set_faults()
    return monkeypatch


def test_the_list_is_read_page_by_page_and_without_what_may_not_send(aws, sandbox):
    client = sandbox.client("sesv2")
    for name in ("example.com", "Shop@Example.net", "unverified.test", "example.org", "sub.example.org"):
        client.create_email_identity(EmailIdentity=name)
    aws.setattr(identities, "_PAGE_SIZE", 2)
    listing = IdentityListing(read_identities)
    assert listing.next_page() is None
    assert listing.is_under_way
    assert listing.next_page() is None
    listed = listing.next_page()
    assert not listing.is_under_way
    assert listed is not None
    assert sorted(listed.names) == ["Shop@example.net", "example.com", "example.org", "sub.example.org"]
    assert (listed.others, listed.region) == (1, "us-east-1")


def test_credentials_that_may_not_list_are_told_apart(aws, sandbox):
    sandbox.set_faults(
        error_code="AccessDeniedException",
        error_message="User is not authorized to perform: ses:ListEmailIdentities",
        error_operations=["ListEmailIdentities", "ListEmailIdentities_GET"],
    )
    with pytest.raises(IdentitiesUnknownError, match="not authorized") as raised:
        read_identities(None)
    assert raised.value.is_denied


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "no url"])
def test_an_account_that_cannot_be_asked_says_nothing_about_permissions(aws, endpoint):
    aws.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(IdentitiesUnknownError) as raised:
        read_identities(None)
    assert not raised.value.is_denied


def test_a_page_that_fails_begins_the_list_anew():
    asked = []

    def read(token):
        asked.append(token)
        if len(asked) == 2:
            raise IdentitiesUnknownError("busy", is_denied=False)
        return IdentityPage((f"n{len(asked)}.test",), 0, "eu-west-1", "more" if token is None else None)

    listing = IdentityListing(read)
    assert listing.next_page() is None
    with pytest.raises(IdentitiesUnknownError):
        listing.next_page()
    assert listing.next_page() is None
    assert listing.next_page() == IdentityList(("n3.test", "n4.test"), 0, "eu-west-1")
    assert asked == [None, "more", None, "more"]


@pytest.mark.parametrize(
    ("identity", "may_send"),
    [
        ({"SendingEnabled": True, "VerificationStatus": "SUCCESS"}, True),
        ({"SendingEnabled": True, "VerificationStatus": "TEMPORARY_FAILURE"}, True),
        ({"SendingEnabled": True}, True),
        ({"SendingEnabled": False, "VerificationStatus": "SUCCESS"}, False),
        ({"SendingEnabled": True, "VerificationStatus": "PENDING"}, False),
        ({"SendingEnabled": False, "VerificationStatus": "FAILED"}, False),
        ({}, False),
    ],
)
def test_which_identities_may_send(identity, may_send):
    assert identities._may_send(identity) is may_send
