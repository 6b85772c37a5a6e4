from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.feedback import BounceType, EventKind
from gateway.lifecycle import Status
from gateway.settings import Settings
from gateway.store.control import CIRCUIT, GUARD
from gateway.store.operations import Action, Operations, Order, Selection
from gateway.store.queue import Queue
from gateway.store.schema import migrate
from gateway.store.stores import open_stores
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.gateway.store.test_notifications import apply, bounce, complaint, feedback, sent
from tests.support.mail import accept, begun, change, rows

CLEAR = "Mail to it would be sent."
SIMULATOR = "simulator.amazonses.com"
OOTO = {"bounce_type": BounceType.TRANSIENT, "sub_type": "General", "diagnostic": "smtp; 250 out of office"}
LISTED = {"bounce_type": BounceType.PERMANENT, "sub_type": "Suppressed"}


def story(result):
    """What is told, without the times."""
    assert result.exit_code == 0, result.stderr
    return [line.split(" UTC  ", 1)[1] for line in result.stdout.splitlines() if " UTC  " in line[:25]]


def verdict(result):
    assert result.exit_code == 0, result.stderr
    return [line.strip() for line in result.stdout.partition("be sent now?\n")[2].splitlines()]


def suppress(stores, text, reason=Reason.MANUAL, **fields):
    subject = parse_subject(text)
    stores.suppressions.add(subject, reason, source="operator", detail="", actor="jane", **fields)


# What SES reports of each address of its mailbox simulator, and how it reads


STORIES = {
    "success": ([(EventKind.DELIVERY, {})], ["the recipient's mail server took it", "[Delivery]"], [CLEAR]),
    "bounce": (
        [(EventKind.BOUNCE, {"diagnostic": "smtp; 550 5.1.1 user unknown"})],
        ["it bounced for good", "[Bounce Permanent/General]: smtp; 550 5.1.1 user unknown"],
        ["No: {} is suppressed", "[bounce]", 'sesgate suppressions remove {} --reason "..."'],
    ),
    "ooto": (
        [(EventKind.DELIVERY, {}), (EventKind.BOUNCE, OOTO)],
        ["an out-of-office reply, which does not count", "smtp; 250 out of office"],
        [CLEAR],
    ),
    "complaint": (
        [(EventKind.DELIVERY, {}), (EventKind.COMPLAINT, {"complaint_type": "abuse"})],
        ["the recipient called it spam [Complaint abuse]"],
        ["No: {} is suppressed", "[complaint]; lift it only if the recipient asks for it"],
    ),
    "suppressionlist": (
        [(EventKind.BOUNCE, LISTED)],
        ["SES did not try, for the address is on its list", "[Bounce Permanent/Suppressed]"],
        ["No: {} is suppressed", "[global-list]", "until 20"],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_every_address_of_the_simulator_has_its_story(sesgate, stores, name):
    reports, told, judged = STORIES[name]
    address = f"{name}@{SIMULATOR}"
    claim = sent(stores, address)
    apply(stores, feedback(EventKind.SEND, claim.attempt_id))
    for minute, (kind, fields) in enumerate(reports, 1):
        make = {EventKind.BOUNCE: bounce, EventKind.COMPLAINT: complaint}.get(kind)
        if make is None:
            apply(stores, feedback(kind, claim.attempt_id, minute=minute, address=address, **fields))
        else:
            moment = {"minute": minute, "address": address}
            apply(stores, make(claim.attempt_id, **moment, **fields))
    change(stores, "UPDATE events SET occurred_at = stored_at")
    result = sesgate("why", address)
    lines = story(result)
    assert lines[0] == (
        f'Accepted message {claim.ulid}, "Your order", from shop@example.org, by the credential local, from 192.0.2.1.'
    )
    assert lines[1] == f"Message {claim.ulid} was handed to SES: SES took it (SES message id ses-1)."
    assert lines[2] == f"SES reports on message {claim.ulid}: it has taken the mail and is going to deliver it [Send]."
    text = "\n".join(lines[3:])
    assert [part for part in told if part not in text] == []
    said = "\n".join(verdict(result))
    assert [part for part in judged if part.format(address) not in said] == []


@pytest.mark.parametrize("kind", EventKind)
def test_every_report_has_words(sesgate, stores, kind):
    claim = sent(stores, "a@example.com")
    apply(stores, feedback(kind, claim.attempt_id, address="a@example.com"))
    lines = story(sesgate("why", "a@example.com"))
    assert any(
        line.startswith(f"SES reports on message {claim.ulid}: ") and f"[{kind.value}]" in line for line in lines
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_a_suppression_has_words(sesgate, stores, reason):
    suppress(stores, "a@example.com", reason)
    assert f"[{reason.value}]" in verdict(sesgate("why", "a@example.com"))[0]


def test_an_echo_of_the_accounts_list_is_no_complaint_of_the_reader(sesgate, stores):
    apply(stores, complaint(sub_type="OnAccountSuppressionList"))
    assert (
        "SES did not try, for the address is on the suppression list of the AWS account"
        in story(sesgate("why", "a@example.com"))[0]
    )


def test_an_address_of_which_nothing_is_known_is_told_so(sesgate, stores):
    result = sesgate("why", "new@example.com")
    assert result.stdout.startswith("Nothing is known of new@example.com: no mail to it was accepted, ")
    assert "What was refused at the door (at RCPT) is in the log of the SMTP front only" in result.stdout
    assert (story(result), verdict(result)) == ([], [CLEAR])


def test_what_never_reached_ses_is_told(sesgate, stores):
    refused, expired, captured, late = (accept(stores, "a@example.com")[0] for _ in range(4))
    stores.sending.refused(begun(stores, refused), "Email address is not verified")
    change(stores, "UPDATE recipients SET status = 'EXPIRED', reason = 'SES is away' WHERE id = ?", expired)
    change(stores, "UPDATE recipients SET status = 'CANCELLED', reason = 'captured: …' WHERE id = ?", captured)
    change(stores, "UPDATE recipients SET status = 'SUPPRESSED', reason = 'suppressed (bounce)' WHERE id = ?", late)
    lines = "\n".join(story(sesgate("why", "a@example.com")))
    assert "was handed to SES: SES refused it for good: Email address is not verified." in lines
    assert "was given up, because it can never be sent: Email address is not verified [FAILED]." in lines
    assert "was given up, because it had waited for too long: SES is away [EXPIRED]." in lines
    assert "was kept back or given up on purpose: captured: … [CANCELLED]." in lines
    assert "was not sent, because the address was suppressed when its turn came: suppressed (bounce)" in lines


def test_what_is_still_under_way_says_what_it_waits_for(sesgate, stores):
    waits, doubtful, parked, _ = (accept(stores, "a@example.com")[0] for _ in range(4))
    stores.sending.released(begun(stores, waits), "SES is away", wait=timedelta(hours=1))
    stores.sending.ambiguous(begun(stores, doubtful), "the connection was reset")
    stores.sending.parked(begun(stores, parked), "SES answered Teapot")
    under_way = sesgate("why", "a@example.com").stdout.partition("Still under way:\n")[2].splitlines()
    assert "it is tried at " in under_way[0]
    assert "(SES is away)" in under_way[0]
    assert under_way[0].endswith(" UTC [QUEUED].")
    assert "SES may have it or may not, for a call ended without an answer (the connection was reset)." in under_way[1]
    assert "[AMBIGUOUS]" in under_way[1]
    assert "it is set aside for a person (SES answered Teapot). `sesgate messages retry 01" in under_way[2]
    assert len([line for line in under_way if line.startswith("  Message")]) == 4


def test_a_mail_that_was_tried_over_and_over_is_told_in_a_few_lines(sesgate, stores):
    (id_,) = accept(stores, "a@example.com")
    for number in range(12):
        stores.sending.released(begun(stores, id_), f"try {number}", wait=timedelta(0))
    lines = story(sesgate("why", "a@example.com"))
    assert len(lines) == 1 + 3 + 1 + 3
    assert lines[4].endswith("was tried 6 more times until then, with no better outcome.")
    assert [line[-6:] for line in lines[5:]] == ["try 9.", "ry 10.", "ry 11."]


def test_reports_on_forwarded_mail_are_told_on_both_sides(sesgate, stores):
    claim = sent(stores, "list@example.com")
    apply(stores, bounce(claim.attempt_id, "jane@example.net"))
    (here,) = (
        line for line in story(sesgate("why", "list@example.com")) if "bounced" in line and "SES reports" in line
    )
    assert here.endswith("It was reported for jane@example.net, where the mail seems to have been forwarded to.")
    (there,) = story(sesgate("why", "jane@example.net"))
    assert "it bounced for good, and list@example.com is not mailed any more [Bounce Permanent/General]" in there
    assert f"The mail was message {claim.ulid} to list@example.com" in there
    assert verdict(sesgate("why", "jane@example.net")) == [CLEAR]


def test_reports_on_mail_of_other_systems_are_told(sesgate, stores):
    apply(stores, complaint(address="jane@example.net", ses_message_id="of-another"))
    result = sesgate("why", "jane@example.net")
    report, suppression = story(result)
    assert "of which nothing is known here (SES message id of-another)" in report
    assert suppression.startswith("jane@example.net is suppressed since then by what SES reported: ")
    assert result.stdout.startswith("No mail to jane@example.net was accepted, as far as is known.")


def test_suppressions_of_the_past_are_told_with_who_ended_them_and_why(sesgate, stores):
    suppress(stores, "jane@example.com", Reason.BOUNCE, note="dead since May")
    stores.suppressions.remove(parse_mailbox("jane@example.com"), why="has a new mailbox", actor="tom")
    suppress(stores, "@example.com")
    suppress(stores, "jane@example.com", Reason.COMPLAINT)
    result = sesgate("why", "jane@example.com")
    assert story(result) == [
        "jane@example.com was suppressed by jane: mail to it bounced for good [bounce] (note: dead since May).",
        "The suppression of jane@example.com [bounce] ended by tom: has a new mailbox.",
        "Everybody at example.com is suppressed since then by jane: a person asked for it [manual].",
        "jane@example.com is suppressed since then by jane: somebody there reported a mail as spam [complaint].",
    ]
    assert [line[:34] for line in verdict(result)] == [
        "No: jane@example.com is suppressed",
        "No: everybody at example.com is su",
    ]


def test_what_an_operator_did_is_told(sesgate, stores):
    accept(stores, "a@example.com")
    operations = Operations(stores.db, timedelta(days=4))
    order = Order(Action.CANCEL, Selection(address="a@example.com"), "jane", "she called")
    list(operations.run(order, operations.find(order)))
    lines = story(sesgate("why", "a@example.com"))
    assert lines[-1].startswith("jane gave mail up: 1 of 1; address a@example.com; why: she called")
    assert "cancelled by jane: she called [CANCELLED]" in "\n".join(lines)


# The verdict


def test_what_holds_for_one_credential_is_told_of_it_alone(sesgate, stores):
    for name in ("shop", "erp", "old"):
        stores.credentials.add(name, actor="jane")
    stores.credentials.disable("old", actor="jane")
    suppress(stores, "jane@example.com", scope="shop")
    stores.reputation.hold("erp", "too many bounces", actor="jane")
    held = "not now: the credential erp is held (too many bounces): its mail is accepted and waits"
    assert verdict(sesgate("why", "jane@example.com")) == [
        f"Under erp: {held}. This changes it: `sesgate queue resume --credential erp`.",
        *verdict(sesgate("why", "jane@example.com", "--credential", "shop")),
        "Under local: mail to it would be sent.",
    ]
    (shop,) = verdict(sesgate("why", "jane@example.com", "--credential", "shop"))
    assert shop.startswith("Under shop: no: jane@example.com is suppressed for shop since ")
    assert "remove jane@example.com --credential shop --reason" in shop
    (old,) = verdict(sesgate("why", "jane@example.com", "--credential", "old"))
    assert old.startswith("Under old: no: the credential old is disabled")
    stores.credentials.disable("local", actor="jane")
    stores.credentials.disable("shop", actor="jane")
    stores.credentials.disable("erp", actor="jane")
    assert verdict(sesgate("why", "a@example.com"))[0].startswith("No: no credential is enabled")


def test_what_stops_everything_is_told(sesgate, stores):
    Queue(stores.db).pause("new templates", actor="jane")
    stores.control.put(CIRCUIT, {"kind": "account", "reason": "Account paused."})
    paused, circuit = verdict(sesgate("why", "a@example.com"))
    assert paused.startswith("Not now: sending is paused (since ")
    assert "by jane, new templates); mail is accepted and waits." in paused
    assert circuit.startswith("Not now: SES refuses everything (Account paused); mail is accepted and waits")


def test_the_staging_guard_is_told_whoever_has_it_set(sesgate, stores):
    assert "SESGATE_CAPTURE_ONLY is on" in verdict(sesgate("why", "a@example.com", SESGATE_CAPTURE_ONLY="true"))[0]
    allowed = {"SESGATE_ALLOWED_RECIPIENTS": "example.org"}
    assert verdict(sesgate("why", "a@example.org", **allowed)) == [CLEAR]
    assert "does not name the address" in verdict(sesgate("why", "a@example.com", **allowed))[0]
    stores.control.put(GUARD, {"kind": "everything", "reason": "SESGATE_CAPTURE_ONLY is on: …"})
    assert verdict(sesgate("why", "a@example.com")) == [
        "No: the staging guard of the workers is on: SESGATE_CAPTURE_ONLY is on: …."
    ]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("jürgen@example.com", "only ASCII addresses"),
        ("user%host@example.com", "ask for routing"),
        ("a b@example.com", "the local part is malformed"),
    ],
)
def test_an_address_that_cannot_be_mailed_is_no_bad_usage(sesgate, stores, address, why):
    (only,) = verdict(sesgate("why", address))
    assert only.startswith("No: it is no address that mail can be sent to: ")
    assert why in only


def test_a_domain_beyond_ascii_is_looked_up_as_the_front_does(sesgate, stores):
    suppress(stores, "a@xn--bcher-kva.example")
    assert len(verdict(sesgate("why", "a@bücher.example"))) == 1


def test_an_expired_suppression_stands_in_nobodys_way(sesgate, stores):
    suppress(stores, "jane@example.com", expires_at=datetime.now(UTC) + timedelta(hours=1))
    change(stores, "UPDATE suppressions SET expires_at = expires_at - 7200000000")
    assert verdict(sesgate("why", "jane@example.com")) == [CLEAR]


def test_of_a_domain_only_its_own_is_told(sesgate, stores):
    accept(stores, "a@example.com")
    none = sesgate("why", "@example.com")
    assert none.stdout.startswith("The domain example.com has no suppression, and had none.")
    assert (story(none), verdict(none)) == ([], [CLEAR])
    suppress(stores, "@example.com")
    suppress(stores, "a@example.com")
    result = sesgate("why", "example.com")
    assert len(story(result)) == len(verdict(result)) == 1
    assert "Would a mail to anybody at example.com be sent now?" in result.stdout


def test_a_report_never_stands_before_the_mail_it_is_about(sesgate, stores):
    claim = sent(stores, "a@example.com")
    apply(stores, feedback(EventKind.SEND, claim.attempt_id))
    change(stores, "UPDATE events SET occurred_at = 1")
    assert [line.split(" ", 1)[0] for line in story(sesgate("why", "a@example.com"))] == ["Accepted", "Message", "SES"]


# Usage


def test_mail_that_is_left_out_is_counted(sesgate, stores):
    for id_ in [accept(stores, "a@example.com")[0] for _ in range(4)]:
        stores.sending.refused(begun(stores, id_), "never")
    result = sesgate("why", "a@example.com", "--limit", "2")
    assert result.stdout.startswith("2 more mails are not told of here")
    assert len([line for line in story(result) if line.startswith("Accepted")]) == 2


def test_a_script_reads_the_same(sesgate, stores):
    claim = sent(stores, "jane@example.com")
    apply(stores, bounce(claim.attempt_id, "jane@example.com"))
    found = json.loads(sesgate("why", "jane@example.com", "--json").stdout)
    assert (found["address"], found["known"], found["would_be_sent"]) == ("jane@example.com", True, False)
    assert (found["mails"][0]["status"], found["mails"][0]["message"]) == (Status.BOUNCED, claim.ulid)
    assert found["suppressions"][0]["reason"] == "bounce"
    (obstacle,) = found["obstacles"]
    assert (obstacle["kind"], obstacle["credential"], obstacle["waits"]) == ("suppressed", None, False)
    assert len(found["told"]) == 4


@pytest.mark.parametrize("arguments", [("nobody",), ("a@",), ("@",), ("a@b.example", "--limit", "0"), ()])
def test_who_is_not_told_apart_is_bad_usage(sesgate, stores, arguments):
    assert sesgate("why", *arguments).exit_code == 2


def test_a_credential_that_is_not_there_is_a_failure(sesgate, stores):
    result = sesgate("why", "a@example.com", "--credential", "nobody")
    assert (result.exit_code, result.stderr) == (1, "Error: There is no credential nobody.\n")


def test_without_a_database_it_fails_with_a_sentence(sesgate, tmp_path):
    assert sesgate("why", "a@example.com").exit_code == 1


def test_what_strangers_wrote_cannot_move_the_cursor(sesgate, stores):
    (id_,) = accept(stores, "a@example.com")
    change(stores, "UPDATE messages SET subject = ?", "buy\x1b[2Jnow")
    claim = begun(stores, id_)
    stores.sending.accepted(claim, "ses-1")
    change(stores, "UPDATE attempts SET detail = ?", "line\nbreak\x07")
    output = sesgate("why", "a@example.com").stdout
    assert "buy [2Jnow" in output
    assert "line break " in output
    assert rows(stores, "SELECT 1 FROM suppressions") == []


def test_postgresql_tells_the_same(sesgate, postgres):
    name = postgres.new_database()
    migrate(postgres.url(name), "sandbox")
    stores = open_stores(Settings(database_url=postgres.url(name)))
    claim = sent(stores, "jane@example.com")
    apply(stores, feedback(EventKind.SEND, claim.attempt_id), bounce(claim.attempt_id, "jane@example.com"))
    stores.close()
    result = sesgate("why", "jane@example.com", SESGATE_DATABASE_URL=postgres.url(name))
    postgres.drop(name)
    assert len(story(result)) == 5
    assert verdict(result)[0].startswith("No: jane@example.com is suppressed")
