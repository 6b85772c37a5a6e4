"""The mailbox simulator: who gets which events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.sandbox.receiver import Receiver
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

RAW = (
    b'From: "A, B" <a@example.com>\r\nTo: b@example.org, "C, D" <c@example.org>\r\n'
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Message-ID: <original@example.com>\r\nX-Sesgate-Attempt: abc\r\n\r\nbody\r\n"
)


def send(sandbox: Sandbox, *recipients: str, raw: bytes = RAW, **call: Any) -> str:
    sent = sandbox.client("sesv2").send_email(
        **{"ConfigurationSetName": "sesgate"} | call,
        Content={"Raw": {"Data": raw}},
        Destination={"ToAddresses": list(recipients)},
        EmailTags=[{"Name": "sesgate-attempt", "Value": "0123"}],
    )
    return str(sent["MessageId"])


def event(webhook: Receiver, message_id: str, kind: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        about = (one for one in webhook.events() if one["mail"]["messageId"] == message_id)
        return next((one for one in about if one["eventType"] == kind), None)

    return until(found, what=f"a {kind} event") or {}


@pytest.mark.parametrize("suffix", ["", "+label"])
@pytest.mark.parametrize(
    ("name", "types", "bounce"),
    [
        ("success", ["Delivery", "Send"], None),
        ("bounce", ["Bounce", "Send"], ("Permanent", "General")),
        ("ooto", ["Bounce", "Delivery", "Send"], ("Transient", "General")),
        ("complaint", ["Complaint", "Delivery", "Send"], None),
        ("suppressionlist", ["Bounce", "Send"], ("Permanent", "Suppressed")),
        ("blacklist", ["Bounce", "Send"], ("Permanent", "Suppressed")),
    ],
)
def test_each_simulator_address_has_its_events(
    sandbox: Sandbox, webhook: Receiver, name: str, suffix: str, types: list[str], bounce: tuple[str, str] | None
):
    address = f"{name}{suffix}@simulator.amazonses.com"
    message_id = send(sandbox, address)

    until(lambda: webhook.event_types(message_id) == types, what=str(types))
    if bounce is not None:
        told = event(webhook, message_id, "Bounce")["bounce"]
        assert (told["bounceType"], told["bounceSubType"]) == bounce
        assert [who["emailAddress"] for who in told["bouncedRecipients"]] == [address]
        assert told["feedbackId"].endswith("-000000")


def test_any_other_address_is_delivered(sandbox: Sandbox, webhook: Receiver):
    message_id = send(sandbox, "bounce@example.org", "someone@simulator.amazonses.com")

    told = event(webhook, message_id, "Delivery")["delivery"]
    assert told["recipients"] == ["bounce@example.org", "someone@simulator.amazonses.com"]
    assert told["smtpResponse"].startswith("250 ")
    assert told["processingTimeMillis"] > 0


def test_the_mail_object_says_what_was_sent(sandbox: Sandbox, webhook: Receiver):
    message_id = send(sandbox, "Bounce <bounce@simulator.amazonses.com>", "c@example.org")

    told = event(webhook, message_id, "Bounce")
    mail = told["mail"]
    assert mail["source"] == '"A, B" <a@example.com>'
    assert mail["sourceArn"] == "arn:aws:ses:us-east-1:000000000000:identity/example.com"
    assert mail["sendingAccountId"] == "000000000000"
    assert mail["destination"] == ["Bounce <bounce@simulator.amazonses.com>", "c@example.org"]
    assert mail["headersTruncated"] is False
    assert {"name": "X-Sesgate-Attempt", "value": "abc"} in mail["headers"]
    assert mail["commonHeaders"] == {
        "from": ['"A, B" <a@example.com>'],
        "to": ["b@example.org", '"C, D" <c@example.org>'],
        "subject": "Grüße",
        "messageId": "<original@example.com>",
    }
    assert mail["tags"]["sesgate-attempt"] == ["0123"]
    assert mail["tags"]["ses:configuration-set"] == ["sesgate"]
    assert mail["tags"]["ses:from-domain"] == ["example.com"]
    who = told["bounce"]["bouncedRecipients"][0]
    assert who == {
        "emailAddress": "bounce@simulator.amazonses.com",
        "action": "failed",
        "status": "5.1.1",
        "diagnosticCode": "smtp; 550 5.1.1 user unknown",
    }


def test_headers_over_ten_kilobytes_are_cut_and_said_to_be(sandbox: Sandbox, webhook: Receiver):
    raw = RAW.replace(b"X-Sesgate", b"".join(b"X-Fill-%d: %s\r\n" % (n, b"x" * 500) for n in range(30)) + b"X-Sesgate")
    mail = event(webhook, send(sandbox, "a@example.org", raw=raw), "Send")["mail"]

    assert mail["headersTruncated"] is True
    assert len(json.dumps(mail["headers"])) < 12 * 1024


def test_a_complaint_names_its_recipient_and_its_type(sandbox: Sandbox, webhook: Receiver):
    told = event(webhook, send(sandbox, "complaint@simulator.amazonses.com"), "Complaint")["complaint"]

    assert told["complainedRecipients"] == [{"emailAddress": "complaint@simulator.amazonses.com"}]
    assert told["complaintFeedbackType"] == "abuse"
    assert told["complaintSubType"] is None


def test_several_bounces_of_one_call_come_in_one_event(sandbox: Sandbox, webhook: Receiver):
    two = ["bounce+1@simulator.amazonses.com", "bounce+2@simulator.amazonses.com"]
    message_id = send(sandbox, *two)

    until(lambda: webhook.event_types(message_id) == ["Bounce", "Send"])
    told = event(webhook, message_id, "Bounce")["bounce"]
    assert [who["emailAddress"] for who in told["bouncedRecipients"]] == two


@pytest.mark.parametrize(
    ("reason", "types", "key"),
    [("BOUNCE", ["Bounce", "Send"], "bounceSubType"), ("COMPLAINT", ["Complaint", "Send"], "complaintSubType")],
)
def test_an_address_on_the_accounts_list_is_accepted_and_echoed(
    sandbox: Sandbox, webhook: Receiver, reason: str, types: list[str], key: str
):
    ses = sandbox.client("sesv2")
    ses.put_suppressed_destination(EmailAddress="Listed@Example.org", Reason=reason)

    message_id = send(sandbox, "Listed@EXAMPLE.org")

    until(lambda: webhook.event_types(message_id) == types)
    told = event(webhook, message_id, types[0])
    assert told[types[0].lower()][key] == "OnAccountSuppressionList"
    assert event(webhook, send(sandbox, "listed@example.org"), "Delivery"), "the local part is case-sensitive"


def test_reasons_that_are_switched_off_do_not_suppress(sandbox: Sandbox, webhook: Receiver):
    ses = sandbox.client("sesv2")
    ses.put_suppressed_destination(EmailAddress="b@example.org", Reason="BOUNCE")
    ses.put_account_suppression_attributes(SuppressedReasons=["COMPLAINT"])
    try:
        assert event(webhook, send(sandbox, "b@example.org"), "Delivery")
    finally:
        ses.put_account_suppression_attributes(SuppressedReasons=["BOUNCE", "COMPLAINT"])


def test_without_a_configuration_set_there_are_no_events(sandbox: Sandbox):
    before = len(sandbox.notifications())
    sandbox.client("sesv2").send_email(Content={"Raw": {"Data": RAW}})
    assert len(sandbox.notifications()) == before


def test_only_the_asked_for_events_of_an_enabled_destination_are_published(sandbox: Sandbox, webhook: Receiver):
    ses = sandbox.client("sesv2")
    only = {"ConfigurationSetName": "sesgate", "EventDestinationName": "sesgate-sns"}
    everything = ses.get_configuration_set_event_destinations(ConfigurationSetName="sesgate")["EventDestinations"][0]
    topic = {"TopicArn": everything["SnsDestination"]["TopicArn"]}
    whole = {key: everything[key] for key in ("Enabled", "MatchingEventTypes", "SnsDestination")}
    try:
        ses.update_configuration_set_event_destination(
            **only, EventDestination={"MatchingEventTypes": ["BOUNCE"], "SnsDestination": topic}
        )
        message_id = send(sandbox, "bounce@simulator.amazonses.com")
        until(lambda: webhook.event_types(message_id) == ["Bounce"])

        ses.update_configuration_set_event_destination(**only, EventDestination={"Enabled": False})
        before = len(sandbox.notifications())
        send(sandbox, "bounce@simulator.amazonses.com")
        assert len(sandbox.notifications()) == before
    finally:
        ses.update_configuration_set_event_destination(**only, EventDestination=whole)


def test_a_mail_with_a_virus_is_accepted_and_then_rejected(sandbox: Sandbox, webhook: Receiver):
    eicar = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
    message_id = send(sandbox, "a@example.org", raw=RAW + eicar + b"\r\n")

    assert event(webhook, message_id, "Reject")["reject"] == {"reason": "Bad content"}
    assert webhook.event_types(message_id) == ["Reject"]
