"""What the simulation does not do: answers that only SES gives, by botocore's Stubber; and an emulator of others."""

from __future__ import annotations

import logging

import pytest
from botocore.stub import Stubber

from gateway.aws.checks.account import look_at_account, look_at_suppression_list
from gateway.aws.checks.asking import Desk, PatientAws, Situation
from gateway.aws.checks.everything import look_at_aws
from gateway.aws.checks.identities import look_at_identities
from gateway.aws.provisioning.names import Place
from gateway.findings import Ledger, Level
from tests.gateway.aws.checks.test_judges import NOW
from tests.support.ports import free_port

PLACE = Place("123456789012", "eu-west-1")


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return PatientAws("eu-west-1", interval=0, seconds=60)


def looked(aws, look, **answers):
    """The findings of a look when SES answers like this, in this order."""
    ledger = Ledger()
    with Stubber(aws.client("sesv2")) as stub:
        for operation, answer in answers.items():
            if isinstance(answer, str):
                stub.add_client_error(operation, answer, http_status_code=403)
            else:
                stub.add_response(operation, answer)
        look(ledger, Desk(aws, PLACE, Situation(), NOW))
        stub.assert_no_pending_responses()
    return {finding.check: finding for finding in ledger.findings}


def test_an_account_that_aws_has_shut_down(aws):
    answer = {
        "EnforcementStatus": "SHUTDOWN",
        "SendingEnabled": False,
        "ProductionAccessEnabled": True,
        "SendQuota": {"Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": 41000.0},
    }
    found = looked(aws, look_at_account, get_account=answer)
    assert found["account"].level is Level.FAILED
    assert "SHUTDOWN" in found["account"].seen
    assert found["quota"].level is Level.WARNING


def test_dkim_and_mail_from_that_ses_does_not_find_in_dns_any_more(aws):
    found = looked(
        aws,
        look_at_identities,
        list_email_identities={
            "EmailIdentities": [
                {
                    "IdentityType": "DOMAIN",
                    "IdentityName": "example.com",
                    "SendingEnabled": True,
                    "VerificationStatus": "SUCCESS",
                }
            ]
        },
        get_email_identity={
            "IdentityType": "DOMAIN",
            "VerifiedForSendingStatus": True,
            "DkimAttributes": {"SigningEnabled": True, "Status": "FAILED", "Tokens": ["a", "b", "c"]},
            "MailFromAttributes": {
                "MailFromDomain": "mail.example.com",
                "MailFromDomainStatus": "FAILED",
                "BehaviorOnMxFailure": "REJECT_MESSAGE",
            },
        },
    )
    assert found["identities"].level is Level.OK
    assert found["DKIM of example.com"].level is Level.FAILED
    assert "put-email-identity-dkim-attributes" in found["DKIM of example.com"].fix
    assert found["MAIL FROM of example.com"].level is Level.FAILED
    assert "refuses mail" in found["MAIL FROM of example.com"].seen


def test_a_list_that_may_not_be_read_is_a_warning(aws):
    found = looked(aws, look_at_suppression_list, list_suppressed_destinations="AccessDeniedException")
    assert found["suppression list"].level is Level.WARNING
    assert "ses:ListSuppressedDestinations" in found["suppression list"].seen


def test_an_emulator_that_others_wrote_is_looked_at_without_breaking_off(aws, monkeypatch):
    pytest.importorskip("moto.server")
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  there only with the extra

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        emulated = PatientAws("eu-west-1", interval=0, seconds=60)
        emulated.call("sns", "CreateTopic", Name="feedback")
        emulated.call("sesv2", "CreateConfigurationSet", ConfigurationSetName="shop")
        topic = "arn:aws:sns:eu-west-1:123456789012:feedback"
        ledger = Ledger()
        situation = Situation(configuration_sets=("shop",), trusted_topics=frozenset({topic}))
        look_at_aws(ledger, emulated, situation, lookup=lambda _question: ())
    finally:
        server.stop()
    found = {finding.check: finding for finding in ledger.findings}
    assert found["credentials"].level is Level.OK
    assert found["account"].level is Level.SKIPPED
