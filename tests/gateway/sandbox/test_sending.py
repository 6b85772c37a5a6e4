"""Sending through boto3, and what the oracle then says of it."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from email import message_from_bytes, policy

import pytest

from tests.gateway.sandbox.receiver import Receiver
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

RAW = (
    b'From: "Shop" <shop@example.com>\r\nTo: Someone Else <other@example.org>\r\n'
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Message-ID: <original@example.com>\r\nX-Sesgate-Attempt: 0123456789abcdef\r\n\r\nHello\r\n"
)
TO_SUCCESS = {"ToAddresses": ["success@simulator.amazonses.com"]}


def test_v2_raw_mail_is_kept_byte_for_byte(sandbox: Sandbox):
    raw = RAW + bytes(range(1, 256)) + b"\r\n"

    message_id = sandbox.client("sesv2").send_email(Content={"Raw": {"Data": raw}}, Destination=TO_SUCCESS)["MessageId"]

    assert sandbox.raw(message_id) == raw
    kept = sandbox.messages()[-1]
    assert kept == {
        "id": message_id,
        "recipients": ["success@simulator.amazonses.com"],
        "subject": "Grüße",
        "tags": {},
        "accepted_at": kept["accepted_at"],
        "size": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "source": '"Shop" <shop@example.com>',
        "configuration_set": None,
    }


def test_v1_raw_mail_is_kept_byte_for_byte(sandbox: Sandbox):
    raw = RAW + b"\xff\x00\xfe+/=&%\r\n"

    message_id = sandbox.client("ses").send_raw_email(
        RawMessage={"Data": raw},
        Source="bounces@example.com",
        Destinations=["a@example.org", "b@example.org"],
        ConfigurationSetName="sesgate",
        Tags=[{"Name": "sesgate-attempt", "Value": "v1"}],
    )["MessageId"]

    kept = sandbox.messages()[-1]
    assert sandbox.raw(message_id) == raw
    assert kept["recipients"] == ["a@example.org", "b@example.org"]
    assert kept["source"] == "bounces@example.com"
    assert kept["tags"] == {"sesgate-attempt": "v1"}
    assert kept["configuration_set"] == "sesgate"


def test_a_mail_of_28_mib_is_accepted_and_kept(sandbox: Sandbox):
    head = RAW.replace(b"\r\nHello\r\n", b"\r\n")
    raw = head + b"x" * 76 + b"\r\n"
    raw = (raw + (b"y" * 76 + b"\r\n") * (28 * 1024 * 1024 // 78))[: 28 * 1024 * 1024]

    message_id = sandbox.client("sesv2").send_email(Content={"Raw": {"Data": raw}}, Destination=TO_SUCCESS)["MessageId"]

    assert sandbox.raw(message_id) == raw


def test_the_message_id_looks_like_one_of_ses(sandbox: Sandbox):
    sent = sandbox.client("sesv2").send_email(Content={"Raw": {"Data": RAW}}, Destination=TO_SUCCESS)

    assert re.fullmatch(r"0100[0-9a-f]{12}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-000000", sent["MessageId"])


def test_the_destination_is_the_envelope_and_leaves_the_headers_alone(sandbox: Sandbox):
    ses = sandbox.client("sesv2")

    by_envelope = ses.send_email(
        Content={"Raw": {"Data": RAW}},
        Destination={
            "ToAddresses": ["a@example.net"],
            "CcAddresses": ["b@example.net"],
            "BccAddresses": ["c@example.net"],
        },
    )
    by_header = ses.send_email(Content={"Raw": {"Data": RAW}})

    kept = {found["id"]: found["recipients"] for found in sandbox.messages()}
    assert kept[by_envelope["MessageId"]] == ["a@example.net", "b@example.net", "c@example.net"]
    assert kept[by_header["MessageId"]] == ["other@example.org"]
    assert sandbox.raw(by_envelope["MessageId"]) == RAW


def test_from_email_address_replaces_the_from_header_in_the_events(sandbox: Sandbox, webhook: Receiver):
    sent = sandbox.client("sesv2").send_email(
        FromEmailAddress="plain@example.com",
        Content={"Raw": {"Data": RAW}},
        Destination=TO_SUCCESS,
        ConfigurationSetName="sesgate",
    )["MessageId"]

    until(lambda: webhook.event_types(sent) == ["Delivery", "Send"])
    mail = next(event["mail"] for event in webhook.events() if event["mail"]["messageId"] == sent)
    assert mail["source"] == "plain@example.com"
    assert mail["commonHeaders"]["from"] == ["plain@example.com"]


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_simple_content_becomes_a_mime_message(sandbox: Sandbox, api: str):
    destination = {"ToAddresses": ["a@example.org"], "BccAddresses": ["hidden@example.org"]}
    parts = {"Subject": {"Data": "Grüße"}, "Body": {"Text": {"Data": "plain ü"}, "Html": {"Data": "<b>rich</b>"}}}
    if api == "v1":
        sent = sandbox.client("ses").send_email(Source="S <s@example.com>", Destination=destination, Message=parts)
    else:
        sent = sandbox.client("sesv2").send_email(
            FromEmailAddress="S <s@example.com>",
            Destination=destination,
            ReplyToAddresses=["r@example.com"],
            Content={
                "Simple": {
                    **parts,
                    "Headers": [{"Name": "List-Id", "Value": "<x.example.com>"}],
                    "Attachments": [{"FileName": "a.bin", "RawContent": b"\x00\x01", "ContentType": "application/x-a"}],
                }
            },
        )

    message = message_from_bytes(sandbox.raw(sent["MessageId"]), policy=policy.default)
    assert message["Subject"] == "Grüße"
    assert message["From"] == "S <s@example.com>"
    assert "hidden" not in str(message)
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "plain ü"
    assert sandbox.messages()[-1]["recipients"] == ["a@example.org", "hidden@example.org"]
    if api == "v2":
        assert message["List-Id"] == "<x.example.com>"
        assert [part.get_content() for part in message.iter_attachments()] == [b"\x00\x01"]


def test_messages_are_listed_oldest_first_and_can_be_cleared(sandbox: Sandbox):
    sandbox.clear()
    ses = sandbox.client("sesv2")
    sent = [ses.send_email(Content={"Raw": {"Data": RAW}}, Destination=TO_SUCCESS)["MessageId"] for _ in range(3)]

    assert [found["id"] for found in sandbox.messages()] == sent
    sandbox.clear()
    assert sandbox.messages() == []
    with pytest.raises(AssertionError, match="404"):
        sandbox.raw(sent[0])


def test_the_daily_quota_counts_recipients_but_not_the_simulator(sandbox: Sandbox):
    sandbox.clear()
    ses = sandbox.client("sesv2")
    ses.send_email(Content={"Raw": {"Data": RAW}}, Destination={"ToAddresses": ["a@example.net", "b@example.net"]})
    ses.send_email(Content={"Raw": {"Data": RAW}}, Destination=TO_SUCCESS)

    assert ses.get_account()["SendQuota"]["SentLast24Hours"] == 2
    assert sandbox.client("ses").get_send_quota()["SentLast24Hours"] == 2


def test_tags_and_set_of_the_header_count_only_without_parameters(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    raw = b"X-SES-MESSAGE-TAGS: a=1, b=2\r\nX-SES-CONFIGURATION-SET: sesgate\r\n" + RAW

    ses.send_email(Content={"Raw": {"Data": raw}}, Destination=TO_SUCCESS)
    assert sandbox.messages()[-1]["tags"] == {"a": "1", "b": "2"}
    assert sandbox.messages()[-1]["configuration_set"] == "sesgate"

    ses.send_email(Content={"Raw": {"Data": raw}}, Destination=TO_SUCCESS, EmailTags=[{"Name": "c", "Value": "3"}])
    assert sandbox.messages()[-1]["tags"] == {"c": "3"}


def test_a_tag_with_other_characters_is_missing_and_the_mail_goes(sandbox: Sandbox):
    tags = [{"Name": "good", "Value": "a_b-1"}, {"Name": "bad", "Value": "a b@c"}]
    sandbox.client("sesv2").send_email(Content={"Raw": {"Data": RAW}}, Destination=TO_SUCCESS, EmailTags=tags)

    assert sandbox.messages()[-1]["tags"] == {"good": "a_b-1"}


def test_an_unknown_oracle_page_is_404(sandbox: Sandbox):
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(f"{sandbox.endpoint}/_sandbox/nothing")
    caught.value.close()


def test_what_is_not_base64_is_refused(sandbox: Sandbox):
    body = b'{"Content": {"Raw": {"Data": "%%%"}}}'
    request = urllib.request.Request(f"{sandbox.endpoint}/v2/email/outbound-emails", data=body, method="POST")
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        urllib.request.urlopen(request)
    caught.value.close()


def test_the_first_of_several_authors_is_the_sender(sandbox: Sandbox, webhook: Receiver):
    raw = RAW.replace(b'"Shop" <shop@example.com>', b"one@example.com, two@example.net")
    sent = sandbox.client("sesv2").send_email(
        Content={"Raw": {"Data": raw}}, Destination=TO_SUCCESS, ConfigurationSetName="sesgate"
    )["MessageId"]

    until(lambda: webhook.event_types(sent) == ["Delivery", "Send"])
    mail = next(event["mail"] for event in webhook.events() if event["mail"]["messageId"] == sent)
    assert mail["sourceArn"].endswith(":identity/example.com")
    assert mail["commonHeaders"]["from"] == ["one@example.com", "two@example.net"]
