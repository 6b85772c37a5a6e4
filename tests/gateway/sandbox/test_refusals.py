"""What SES refuses, with its codes and texts."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.sandbox import Sandbox

GOOD = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: s\r\n\r\nbody\r\n"


def refusal(sandbox: Sandbox, raw: bytes = GOOD, *, to: list[str] | None = None, **call: Any) -> tuple[int, str, str]:
    destination = {"ToAddresses": ["success@simulator.amazonses.com"] if to is None else to}
    with pytest.raises(ClientError) as caught:
        sandbox.client("sesv2").send_email(Content={"Raw": {"Data": raw}}, Destination=destination, **call)
    return _told(caught.value)


def v1_refusal(sandbox: Sandbox, raw: bytes = GOOD, **call: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        sandbox.client("ses").send_raw_email(RawMessage={"Data": raw}, Destinations=["b@example.org"], **call)
    return _told(caught.value)


def _told(error: ClientError) -> tuple[int, str, str]:
    told = error.response
    return told["ResponseMetadata"]["HTTPStatusCode"], told["Error"]["Code"], told["Error"]["Message"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (GOOD.replace(b"From: a@example.com\r\n", b""), "Missing required header 'From'."),
        (b"Subject: twice\r\n" + GOOD, "Duplicate header 'Subject'."),
        (b"DKIM-Signature: x\r\nDKIM-Signature: y\r\n" + GOOD, "Duplicate header 'DKIM-Signature'."),
        (b"list-unsubscribe: x\r\nList-Unsubscribe: y\r\n" + GOOD, "Duplicate header 'list-unsubscribe'."),
        (b": nothing\r\n" + GOOD, "Empty header names are illegal."),
        (b"X-Long: " + b"x\r\n " * 100_000 + b"\r\n" + GOOD, "Header section too long."),
        (GOOD + b"x" * 999 + b"\r\n", "Line length exceeds 1000 octets."),
        (GOOD + b"x" * 2000, "Line length exceeds 1000 octets."),
        (b"", "Empty raw message."),
        (GOOD.replace(b"a@example.com", b"a@exa mple.com"), "Domain contains control or whitespace"),
    ],
)
def test_malformed_content_is_a_bad_request(sandbox: Sandbox, raw: bytes, message: str):
    assert refusal(sandbox, raw) == (400, "BadRequestException", message)


def test_a_line_of_1000_octets_passes(sandbox: Sandbox):
    raw = GOOD + b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n"
    sandbox.client("sesv2").send_email(Content={"Raw": {"Data": raw}})
    assert sandbox.messages()[-1]["size"] == len(raw)


def test_repeated_received_headers_pass(sandbox: Sandbox):
    sandbox.client("sesv2").send_email(Content={"Raw": {"Data": b"Received: a\r\nReceived: b\r\n" + GOOD}})


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nobody", "Missing final '@domain'"),
        ("@example.org", "Missing local name"),
        ("a@", "Missing domain"),
        ("a b@example.org", "Local address contains control or whitespace"),
        ("jürgen@example.org", "Local address contains control or whitespace"),
        ("a,b@example.org", "Local address contains illegal character"),
        ("a@b@example.org", "Local address contains illegal character"),
        (".a@example.org", "Local address starts with dot"),
        ("a.@example.org", "Local address ends with dot"),
        ("a..b@example.org", "Local address contains dot-dot"),
        ("a@exa mple.org", "Domain contains control or whitespace"),
        ("a@exämple.org", "Domain contains illegal character"),
        ("a@example..org", "Domain contains dot-dot"),
    ],
)
def test_one_illegal_address_refuses_the_whole_call(sandbox: Sandbox, address: str, message: str):
    before = len(sandbox.messages())
    assert refusal(sandbox, to=["good@example.org", address]) == (400, "BadRequestException", message)
    assert len(sandbox.messages()) == before


@pytest.mark.parametrize("address", ['"a b"@example.org', "a+b@example.org", "a@[192.0.2.1]", "o'hara@example.org"])
def test_legal_but_odd_addresses_pass(sandbox: Sandbox, address: str):
    sandbox.client("sesv2").send_email(Content={"Raw": {"Data": GOOD}}, Destination={"ToAddresses": [address]})
    assert sandbox.messages()[-1]["recipients"] == [address]


def test_fifty_recipients_pass_and_one_more_does_not(sandbox: Sandbox):
    fifty = [f"r{number}@example.org" for number in range(50)]
    sandbox.client("sesv2").send_email(Content={"Raw": {"Data": GOOD}}, Destination={"ToAddresses": fifty})
    assert refusal(sandbox, to=[*fifty, "x@example.org"]) == (400, "BadRequestException", "Recipient count exceeds 50.")


def test_no_recipient_anywhere_is_a_bad_request(sandbox: Sandbox):
    told = refusal(sandbox, GOOD.replace(b"To: b@example.org\r\n", b""), to=[])
    assert told == (400, "BadRequestException", "Missing required header 'To'.")


def test_an_unknown_configuration_set_is_not_found(sandbox: Sandbox):
    told = refusal(sandbox, ConfigurationSetName="none")
    assert told == (404, "NotFoundException", "Configuration set <none> does not exist.")
    told = v1_refusal(sandbox, ConfigurationSetName="none")
    assert told == (400, "ConfigurationSetDoesNotExist", "Configuration set <none> does not exist.")


def test_once_an_identity_exists_every_sender_needs_one(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    ses.create_email_identity(EmailIdentity="example.net")
    text = "Email address is not verified. The following identities failed the check in region US-EAST-1: "

    assert refusal(sandbox) == (400, "MessageRejected", f"{text}a@example.com")
    assert v1_refusal(sandbox) == (400, "MessageRejected", f"{text}a@example.com")
    with_sender = GOOD.replace(b"a@example.com", b"a@sub.example.net\r\nSender: z@example.com")
    assert refusal(sandbox, with_sender) == (400, "MessageRejected", f"{text}z@example.com")

    ses.create_email_identity(EmailIdentity="a@example.com")
    for sender in (b"a@example.com", b"a+label@example.com", b"x@sub.Example.NET"):
        ses.send_email(Content={"Raw": {"Data": GOOD.replace(b"a@example.com", sender)}})
    assert refusal(sandbox, GOOD.replace(b"a@example.com", b"A@example.com"))[1] == "MessageRejected"


def test_an_identity_that_is_still_pending_does_not_count(sandbox: Sandbox):
    sandbox.client("sesv2").create_email_identity(EmailIdentity="unverified.example.com")
    code = refusal(sandbox, GOOD.replace(b"a@example.com", b"a@unverified.example.com"))[1]
    assert code == "MessageRejected"


def test_outside_production_recipients_must_be_verified_too(sandbox: Sandbox):
    sandbox.set_account(production_access_enabled=False)
    told = refusal(sandbox, to=["b@example.org", "bounce@simulator.amazonses.com"])

    assert told[1:] == (
        "MessageRejected",
        "Email address is not verified. The following identities failed the check in region US-EAST-1: b@example.org",
    )
    sandbox.client("sesv2").send_email(
        Content={"Raw": {"Data": GOOD}}, Destination={"ToAddresses": ["bounce@simulator.amazonses.com"]}
    )


@pytest.mark.parametrize(
    ("account", "v2", "v1"),
    [
        ({"sending_enabled": False}, "SendingPausedException", "AccountSendingPausedException"),
        ({"enforcement_status": "SHUTDOWN"}, "AccountSuspendedException", "AccountSuspendedException"),
    ],
)
def test_an_account_that_may_not_send_says_so(sandbox: Sandbox, account: dict[str, Any], v2: str, v1: str):
    sandbox.set_account(**account)
    assert refusal(sandbox)[:2] == (400, v2)
    assert v1_refusal(sandbox)[:2] == (400, v1)


def test_sending_can_be_paused_through_the_api(sandbox: Sandbox):
    ses, old = sandbox.client("sesv2"), sandbox.client("ses")
    ses.put_account_sending_attributes(SendingEnabled=False)
    assert old.get_account_sending_enabled()["Enabled"] is False
    assert ses.get_account()["SendingEnabled"] is False
    old.update_account_sending_enabled(Enabled=True)
    assert ses.get_account()["SendingEnabled"] is True


def test_a_paused_configuration_set_refuses(sandbox: Sandbox):
    ses = sandbox.client("sesv2")
    ses.create_configuration_set(ConfigurationSetName="paused", SendingOptions={"SendingEnabled": False})
    assert refusal(sandbox, ConfigurationSetName="paused")[1] == "SendingPausedException"
    ses.put_configuration_set_sending_options(ConfigurationSetName="paused", SendingEnabled=True)
    ses.send_email(Content={"Raw": {"Data": GOOD}}, ConfigurationSetName="paused")
    ses.delete_configuration_set(ConfigurationSetName="paused")


def test_the_daily_quota_ends_with_the_last_call_that_finds_some_left(sandbox: Sandbox):
    sandbox.clear()
    sandbox.set_account(max_24_hour_send=3)
    ses = sandbox.client("sesv2")
    for _ in range(2):
        ses.send_email(Content={"Raw": {"Data": GOOD}}, Destination={"ToAddresses": ["a@example.org", "b@example.org"]})

    text = "Daily message quota exceeded."
    assert refusal(sandbox) == (400, "LimitExceededException", text)
    assert v1_refusal(sandbox) == (400, "Throttling", text)
    sandbox.set_account(max_24_hour_send=-1)
    ses.send_email(Content={"Raw": {"Data": GOOD}})


def test_the_send_rate_is_enforced(sandbox: Sandbox):
    sandbox.set_account(max_send_rate=0)
    assert refusal(sandbox) == (429, "TooManyRequestsException", "Maximum sending rate exceeded.")
    assert v1_refusal(sandbox) == (400, "Throttling", "Maximum sending rate exceeded.")


def test_v1_takes_ten_megabytes_and_v2_forty(sandbox: Sandbox):
    line = b"x" * 98 + b"\r\n"
    eight = GOOD + line * 80_000
    status, code, message = v1_refusal(sandbox, eight)
    assert (status, code) == (400, "InvalidParameterValue")
    assert message.startswith("Message length is more than 10485760 bytes long: ")
    sandbox.client("sesv2").send_email(Content={"Raw": {"Data": eight}})
    thirty_two = GOOD + line * 320_000
    assert refusal(sandbox, thirty_two)[2].startswith("Message length is more than 41943040 bytes long: ")


def test_content_that_is_neither_raw_nor_simple_is_a_bad_request(sandbox: Sandbox):
    with pytest.raises(ClientError) as caught:
        sandbox.client("sesv2").send_email(Content={"Template": {"TemplateName": "t"}})
    assert _told(caught.value)[1] == "BadRequestException"


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("sesv2", "list_contact_lists", "UnknownOperationException"),
        ("ses", "list_receipt_filters", "InvalidAction"),
        ("sns", "list_platform_applications", "InvalidAction"),
    ],
)
def test_an_operation_that_is_not_simulated_is_a_client_error(
    sandbox: Sandbox, service: str, operation: str, code: str
):
    with pytest.raises(ClientError) as caught:
        getattr(sandbox.client(service), operation)()
    assert caught.value.response["Error"]["Code"] == code
