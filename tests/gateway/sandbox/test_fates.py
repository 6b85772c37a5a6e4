"""Fates on demand: every kind of event, for addresses that are not the simulator's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from gateway.sandbox.happenings import BY_NAME
from tests.gateway.sandbox.receiver import Receiver
from tests.gateway.sandbox.test_simulator import event, send
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

JANE = "jane@example.com"
PAPER = Path(__file__).parents[3] / "docs" / "by-hand.md"


def fates(sandbox: Sandbox, method: str, given: object = None) -> tuple[int, Any]:
    body = None if given is None else json.dumps(given)
    answer = urllib3.request(method, f"{sandbox.endpoint}/_sandbox/fates", body=body)
    return answer.status, json.loads(answer.data) if answer.data else None


def told(webhook: Receiver, message_id: str, number: int) -> list[dict[str, Any]]:
    def all_there() -> list[dict[str, Any]] | None:
        found = [one for one in webhook.events() if one["mail"]["messageId"] == message_id]
        return found if len(found) >= number else None

    return until(all_there, what=f"{number} events") or []


@pytest.mark.parametrize("name", [name for name in BY_NAME if "/" in name or name not in {"Bounce", "DeliveryDelay"}])
def test_every_kind_of_event_can_be_asked_for(sandbox: Sandbox, webhook: Receiver, name: str):
    sandbox.set_fates(**{JANE: [name]})
    (one,) = told(webhook, send(sandbox, JANE), 1)

    kind, _, rest = name.partition("/")
    assert one["eventType"] == kind
    if kind == "Bounce":
        bounce = one["bounce"]
        assert f"{bounce['bounceType']}/{bounce['bounceSubType']}" == rest
        assert bounce["bouncedRecipients"][0]["emailAddress"] == JANE
        assert ("reportingMTA" in bounce) == ("status" in bounce["bouncedRecipients"][0])
    elif kind == "Complaint":
        assert rest in {
            one["complaint"].get("complaintFeedbackType", ""),
            one["complaint"]["complaintSubType"],
        }
        assert one["complaint"]["complainedRecipients"] == [{"emailAddress": JANE}]
    elif kind == "DeliveryDelay":
        assert one["deliveryDelay"]["delayType"] == rest
        assert one["deliveryDelay"]["delayedRecipients"][0]["emailAddress"] == JANE


def test_a_fate_comes_in_its_order_and_its_repetitions(sandbox: Sandbox, webhook: Receiver):
    names = ["Send", "DeliveryDelay/General", "DeliveryDelay/General", "Bounce/Transient/MailboxFull"]
    sandbox.set_fates(**{JANE: names})
    events = told(webhook, send(sandbox, "Jane <jane@EXAMPLE.com>"), 4)

    assert sorted(one["eventType"] for one in events) == ["Bounce", "DeliveryDelay", "DeliveryDelay", "Send"]
    bounced = event(webhook, events[0]["mail"]["messageId"], "Bounce")["bounce"]
    delays = [one["deliveryDelay"]["timestamp"] for one in events if one["eventType"] == "DeliveryDelay"]
    assert max(delays) < bounced["timestamp"]
    assert bounced["bouncedRecipients"][0]["status"] == "5.2.2"


def test_an_out_of_office_notice_is_no_delivery_status_notification(sandbox: Sandbox, webhook: Receiver):
    sandbox.set_fates(**{JANE: ["Send", "Delivery", "Bounce/Transient/General"]})
    bounce = event(webhook, send(sandbox, JANE), "Bounce")["bounce"]

    assert bounce["bouncedRecipients"] == [{"emailAddress": JANE}]
    assert "reportingMTA" not in bounce


def test_an_address_goes_before_its_domain_and_others_are_delivered(sandbox: Sandbox, webhook: Receiver):
    sandbox.set_fates(**{JANE: ["Send", "Complaint/fraud"], "*@example.com": ["Send", "Bounce/Permanent/NoEmail"]})
    message_id = send(sandbox, JANE, "Jane@example.com", "other@Example.com", "b@example.org")

    assert {one["eventType"] for one in told(webhook, message_id, 4)} == {"Send", "Complaint", "Bounce", "Delivery"}
    complaint = event(webhook, message_id, "Complaint")["complaint"]
    assert complaint["complainedRecipients"] == [{"emailAddress": JANE}]
    bounced = event(webhook, message_id, "Bounce")["bounce"]["bouncedRecipients"]
    assert [who["emailAddress"] for who in bounced] == ["Jane@example.com", "other@Example.com"]
    assert event(webhook, message_id, "Delivery")["delivery"]["recipients"] == ["b@example.org"]


def test_fates_are_shown_replaced_and_taken_away(sandbox: Sandbox):
    given = {"jane@example.com": {"events": ["Send", "Bounce"]}}
    assert fates(sandbox, "PUT", given) == (200, given)
    assert fates(sandbox, "GET") == (200, given)
    assert fates(sandbox, "DELETE") == (204, None)
    assert fates(sandbox, "GET") == (200, {})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "Send a JSON object"),
        ({"jane": {"events": ["Send"]}}, "neither an address nor *@domain"),
        ({"*@*": {"events": ["Send"]}}, "neither an address nor *@domain"),
        ({JANE: ["Send"]}, "needs a list of events"),
        ({JANE: {"events": []}}, "needs a list of events"),
        ({JANE: {"events": ["Send"], "more": 1}}, "needs a list of events"),
        ({JANE: {"events": ["Bounce/Permanent/MailboxFull"]}}, "Known are Send, Delivery, "),
        ({JANE: {"events": [1]}}, "Bounce/Transient/MailboxFull"),
    ],
)
def test_an_odd_fate_is_400_with_what_is_allowed(sandbox: Sandbox, given: object, says: str):
    status, body = fates(sandbox, "PUT", given)
    assert status == 400
    assert says in body["error"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples call curl")
def test_the_examples_of_the_paper_work(sandbox: Sandbox):
    section = PAPER.read_text().partition("## Fates\n")[2].partition("\n## ")[0]
    examples = "".join(line.removeprefix("    ") for line in section.splitlines(keepends=True) if line[:4] == "    ")
    assert examples.count("curl ") == 3
    script = examples.replace("http://127.0.0.1:4566", sandbox.endpoint).replace("curl ", "curl --fail ")
    done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=30, check=True)

    put, shown = (json.loads(line) for line in done.stdout.splitlines())
    assert set(put) == set(shown) == {JANE, "*@old.example"}
    assert fates(sandbox, "GET") == (200, {})


def test_fates_outlive_a_kill():
    with Sandbox() as sandbox:
        sandbox.set_fates(**{JANE: ["Bounce"]})
        sandbox.restart()
        assert fates(sandbox, "GET") == (200, {JANE: {"events": ["Bounce"]}})


# What hard bounces and complaints do to the account's list


def listed(sandbox: Sandbox) -> dict[str, str]:
    found = sandbox.client("sesv2").list_suppressed_destinations()["SuppressedDestinationSummaries"]
    return {one["EmailAddress"]: one["Reason"] for one in found}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Bounce/Permanent/General", "BOUNCE"),
        ("Bounce/Permanent/NoEmail", "BOUNCE"),
        ("Bounce/Permanent/Suppressed", None),
        ("Bounce/Permanent/OnAccountSuppressionList", None),
        ("Bounce/Transient/MailboxFull", None),
        ("Complaint", "COMPLAINT"),
        ("Complaint/abuse", "COMPLAINT"),
        ("Complaint/not-spam", None),
        ("Complaint/OnAccountSuppressionList", None),
        ("Delivery", None),
    ],
)
def test_the_accounts_list_learns_from_real_bounces_and_complaints(sandbox: Sandbox, name: str, reason: str | None):
    sandbox.set_fates(**{JANE: ["Send", name]})
    send(sandbox, JANE)
    assert listed(sandbox) == ({} if reason is None else {JANE: reason})


def test_a_listed_address_names_its_report_and_gets_echoes(sandbox: Sandbox, webhook: Receiver):
    sandbox.set_fates(**{JANE: ["Send", "Bounce"]})
    first = send(sandbox, JANE)
    found = sandbox.client("sesv2").get_suppressed_destination(EmailAddress="jane@EXAMPLE.com")["SuppressedDestination"]
    feedback_id = event(webhook, first, "Bounce")["bounce"]["feedbackId"]
    assert found["Attributes"] == {"MessageId": first, "FeedbackId": feedback_id}

    echo = event(webhook, send(sandbox, JANE), "Bounce")["bounce"]
    assert echo["bounceSubType"] == "OnAccountSuppressionList"


def test_the_simulators_bounces_and_complaints_are_not_learned(sandbox: Sandbox):
    send(sandbox, "bounce@simulator.amazonses.com", "complaint@simulator.amazonses.com")
    assert listed(sandbox) == {}


def test_what_is_switched_off_is_not_learned(sandbox: Sandbox):
    sandbox.set_fates(**{JANE: ["Send", "Bounce"]})
    ses = sandbox.client("sesv2")
    ses.put_account_suppression_attributes(SuppressedReasons=["COMPLAINT"])
    send(sandbox, JANE)
    assert listed(sandbox) == {}
    ses.put_configuration_set_suppression_options(ConfigurationSetName="sesgate", SuppressedReasons=["BOUNCE"])
    send(sandbox, JANE)
    assert listed(sandbox) == {JANE: "BOUNCE"}
    ses.put_account_suppression_attributes(SuppressedReasons=["BOUNCE", "COMPLAINT"])
    ses.put_configuration_set_suppression_options(ConfigurationSetName="sesgate")


def test_the_list_is_not_there_without_production_access(sandbox: Sandbox):
    sandbox.set_account(production_access_enabled=False)
    ses = sandbox.client("sesv2")
    for call in (
        lambda: ses.put_suppressed_destination(EmailAddress=JANE, Reason="BOUNCE"),
        lambda: ses.get_suppressed_destination(EmailAddress=JANE),
        lambda: ses.delete_suppressed_destination(EmailAddress=JANE),
        ses.list_suppressed_destinations,
    ):
        with pytest.raises(ClientError, match="production access") as caught:
            call()
        assert caught.value.response["Error"]["Code"] == "BadRequestException"


def test_putting_an_address_again_replaces_its_reason_and_its_report(sandbox: Sandbox):
    sandbox.set_fates(**{JANE: ["Bounce"]})
    send(sandbox, JANE)
    ses = sandbox.client("sesv2")
    ses.put_suppressed_destination(EmailAddress="jane@Example.com", Reason="COMPLAINT")

    found = ses.get_suppressed_destination(EmailAddress=JANE)["SuppressedDestination"]
    assert (found["Reason"], found.get("Attributes")) == ("COMPLAINT", None)
    with pytest.raises(ClientError) as caught:
        ses.get_suppressed_destination(EmailAddress="Jane@example.com")
    assert caught.value.response["Error"]["Code"] == "NotFoundException"
    with pytest.raises(ClientError):
        ses.list_suppressed_destinations(Reasons=["NONSENSE"])
