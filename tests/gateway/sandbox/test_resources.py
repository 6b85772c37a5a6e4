"""Configuration sets, identities and the suppression list through boto3, and the services that moto answers."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.support.sandbox import Sandbox


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_configuration_sets_come_and_go(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    ses.create_configuration_set(ConfigurationSetName="mine", SuppressionOptions={"SuppressedReasons": ["BOUNCE"]})
    try:
        with pytest.raises(ClientError) as caught:
            ses.create_configuration_set(ConfigurationSetName="mine")
        assert code(caught) == "AlreadyExistsException"
        assert ses.list_configuration_sets()["ConfigurationSets"] == ["mine", "sesgate"]
        first = ses.list_configuration_sets(PageSize=1)
        assert first["ConfigurationSets"] == ["mine"]
        assert ses.list_configuration_sets(NextToken=first["NextToken"])["ConfigurationSets"] == ["sesgate"]
        found = ses.get_configuration_set(ConfigurationSetName="mine")
        assert found["SuppressionOptions"] == {"SuppressedReasons": ["BOUNCE"]}
        assert found["SendingOptions"] == {"SendingEnabled": True}
        ses.put_configuration_set_suppression_options(ConfigurationSetName="mine", SuppressedReasons=[])
        assert ses.get_configuration_set(ConfigurationSetName="mine")["SuppressionOptions"]["SuppressedReasons"] == []
    finally:
        ses.delete_configuration_set(ConfigurationSetName="mine")
    with pytest.raises(ClientError) as gone:
        ses.get_configuration_set(ConfigurationSetName="mine")
    assert code(gone) == "NotFoundException"


def test_an_odd_name_of_a_configuration_set_is_refused(sandbox: Sandbox):
    with pytest.raises(ClientError) as caught:
        sandbox.client("sesv2").create_configuration_set(ConfigurationSetName="a b")
    assert code(caught) == "BadRequestException"


def test_identities_are_verified_at_once_by_either_api(sandbox: Sandbox):
    ses, old = sandbox.client("sesv2"), sandbox.client("ses")
    made = ses.create_email_identity(EmailIdentity="Example.com")
    assert made["VerifiedForSendingStatus"] is True
    assert len(made["DkimAttributes"]["Tokens"]) == 3
    old.verify_email_identity(EmailAddress="a@example.org")
    assert old.verify_domain_identity(Domain="unverified.example.net")["VerificationToken"]

    assert old.list_identities()["Identities"] == ["a@example.org", "example.com", "unverified.example.net"]
    assert old.list_identities(IdentityType="EmailAddress")["Identities"] == ["a@example.org"]
    verified = old.get_identity_verification_attributes(
        Identities=["example.com", "unverified.example.net", "none.example"]
    )["VerificationAttributes"]
    assert {name: found["VerificationStatus"] for name, found in verified.items()} == {
        "example.com": "Success",
        "unverified.example.net": "Pending",
    }
    found = ses.get_email_identity(EmailIdentity="unverified.example.net")
    assert (found["VerifiedForSendingStatus"], found["VerificationStatus"]) == (False, "PENDING")
    assert {one["IdentityName"] for one in ses.list_email_identities()["EmailIdentities"]} == {
        "a@example.org",
        "example.com",
        "unverified.example.net",
    }


@pytest.mark.parametrize("name", ["exa mple.com", "a@", "a b@example.com"])
def test_what_is_no_identity_is_refused(sandbox: Sandbox, name: str):
    with pytest.raises(ClientError) as caught:
        sandbox.client("sesv2").create_email_identity(EmailIdentity=name)
    assert code(caught) == "BadRequestException"


def test_the_default_set_of_an_identity_is_used(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    ses.create_email_identity(EmailIdentity="example.com")
    ses.put_email_identity_configuration_set_attributes(EmailIdentity="example.com", ConfigurationSetName="sesgate")
    ses.send_email(Content={"Raw": {"Data": b"From: a@example.com\r\nTo: b@example.org\r\n\r\nx"}})
    assert sandbox.messages()[-1]["configuration_set"] == "sesgate"


def test_the_suppression_list_is_kept_and_paged(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    for address, reason in (("a@example.org", "BOUNCE"), ("b/c@Example.org", "COMPLAINT"), ("d@example.org", "BOUNCE")):
        ses.put_suppressed_destination(EmailAddress=address, Reason=reason)
    ses.put_suppressed_destination(EmailAddress="a@example.org", Reason="COMPLAINT")

    found = ses.get_suppressed_destination(EmailAddress="b/c@EXAMPLE.org")["SuppressedDestination"]
    assert (found["EmailAddress"], found["Reason"]) == ("b/c@example.org", "COMPLAINT")
    first = ses.list_suppressed_destinations(PageSize=2)
    second = ses.list_suppressed_destinations(PageSize=2, NextToken=first["NextToken"])
    listed = [one["EmailAddress"] for page in (first, second) for one in page["SuppressedDestinationSummaries"]]
    assert listed == ["a@example.org", "b/c@example.org", "d@example.org"]
    assert "NextToken" not in second
    bounced = ses.list_suppressed_destinations(Reasons=["BOUNCE"])["SuppressedDestinationSummaries"]
    assert [one["EmailAddress"] for one in bounced] == ["d@example.org"]
    since = found["LastUpdateTime"].replace(year=found["LastUpdateTime"].year + 1)
    assert ses.list_suppressed_destinations(StartDate=since)["SuppressedDestinationSummaries"] == []

    ses.delete_suppressed_destination(EmailAddress="d@example.org")
    for call in (ses.get_suppressed_destination, ses.delete_suppressed_destination):
        with pytest.raises(ClientError) as caught:
            call(EmailAddress="d@example.org")
        assert code(caught) == "NotFoundException"


def test_iam_sts_and_sqs_are_answered_by_moto_for_the_same_account(sandbox: Sandbox):
    pytest.importorskip("moto", reason="the extra `sandbox` is not installed")
    assert sandbox.client("sts").get_caller_identity()["Account"] == "000000000000"
    queue = sandbox.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    assert queue.endswith("/000000000000/q")
    assert sandbox.client("iam").list_users()["Users"] == []


def test_dkim_and_the_mail_from_domain_of_an_identity_can_be_set(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    for name in ("example.com", "unverified.example"):
        ses.create_email_identity(EmailIdentity=name)
        ses.put_email_identity_mail_from_attributes(EmailIdentity=name, MailFromDomain=f"bounce.{name}")
    ses.put_email_identity_dkim_attributes(EmailIdentity="example.com", SigningEnabled=False)

    found = ses.get_email_identity(EmailIdentity="example.com")
    assert found["DkimAttributes"]["SigningEnabled"] is False
    assert found["MailFromAttributes"] == {
        "MailFromDomain": "bounce.example.com",
        "MailFromDomainStatus": "SUCCESS",
        "BehaviorOnMxFailure": "USE_DEFAULT_VALUE",
    }
    waiting = ses.get_email_identity(EmailIdentity="unverified.example")
    assert waiting["MailFromAttributes"]["MailFromDomainStatus"] == "PENDING"
    with pytest.raises(ClientError) as caught:
        ses.put_email_identity_mail_from_attributes(EmailIdentity="example.com", MailFromDomain="mail.example.org")
    assert code(caught) == "BadRequestException"
    ses.put_email_identity_mail_from_attributes(EmailIdentity="example.com")
    cleared = ses.get_email_identity(EmailIdentity="example.com")["MailFromAttributes"]
    assert cleared == {"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"}
