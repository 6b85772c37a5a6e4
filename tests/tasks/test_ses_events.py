from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.feedback import BounceType, EventKind
from tasks.ses_events import UnknownEventError, parse_event
from tests.support.payloads import ses

BOTH_FORMATS = pytest.mark.parametrize("form", [ses.event, ses.notification], ids=["event", "notification"])


def parse(event):
    return parse_event(json.dumps(event) + "\n")


def only(event):
    (feedback,) = parse(event)
    return feedback


@BOTH_FORMATS
def test_a_bounce_says_whom_it_is_about_and_why(form):
    feedback = only(form("Bounce", bounce=ses.bounce()))
    assert (feedback.kind, feedback.address) == (EventKind.BOUNCE, ses.RECIPIENT)
    assert (feedback.bounce_type, feedback.sub_type) == (BounceType.PERMANENT, "General")
    assert (feedback.status_code, feedback.diagnostic) == ("5.1.1", "smtp; 550 5.1.1 user unknown")
    assert (feedback.ses_message_id, feedback.feedback_id) == (ses.MESSAGE_ID, ses.FEEDBACK_ID)
    assert feedback.occurred_at == datetime(2026, 11, 21, 22, 10, 3, 250_000, tzinfo=UTC)


@BOTH_FORMATS
def test_a_complaint_says_whom_it_is_about_and_of_what_kind(form):
    feedback = only(form("Complaint", complaint=ses.complaint("fraud")))
    assert (feedback.kind, feedback.address) == (EventKind.COMPLAINT, ses.RECIPIENT)
    assert (feedback.complaint_type, feedback.sub_type, feedback.feedback_id) == ("fraud", None, ses.FEEDBACK_ID)


def test_a_complaint_may_come_without_a_type():
    assert only(ses.event("Complaint", complaint=ses.complaint(None))).complaint_type is None


@BOTH_FORMATS
def test_a_delivery_names_its_recipients_and_what_their_server_said(form):
    feedback = only(form("Delivery", delivery=ses.delivery()))
    assert (feedback.kind, feedback.address) == (EventKind.DELIVERY, ses.RECIPIENT)
    assert feedback.diagnostic == "250 ok:  Message 64111812 accepted"


def test_a_delay_names_its_recipients_and_its_cause():
    feedback = only(ses.event("DeliveryDelay", deliveryDelay=ses.delivery_delay()))
    assert (feedback.kind, feedback.address) == (EventKind.DELIVERY_DELAY, ses.RECIPIENT)
    assert (feedback.sub_type, feedback.status_code) == ("MailboxFull", "4.2.2")
    assert feedback.occurred_at == datetime(2026, 11, 21, 22, 40, tzinfo=UTC)


def test_a_send_is_about_the_whole_mail_at_the_time_of_its_acceptance():
    feedback = only(ses.event("Send", send={}))
    assert (feedback.kind, feedback.address) == (EventKind.SEND, None)
    assert feedback.occurred_at == datetime(2026, 11, 21, 22, 10, tzinfo=UTC)


def test_a_reject_is_about_the_whole_mail_and_gives_the_reason():
    feedback = only(ses.event("Reject", reject={"reason": "Bad content"}))
    assert (feedback.kind, feedback.address, feedback.diagnostic) == (EventKind.REJECT, None, "Bad content")


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (EventKind.OPEN, {"open": ses.OPEN}),
        (EventKind.CLICK, {"click": ses.CLICK}),
        (EventKind.RENDERING_FAILURE, {"failure": ses.RENDERING_FAILURE}),
        (EventKind.SUBSCRIPTION, {"subscription": ses.SUBSCRIPTION}),
    ],
)
def test_the_other_kinds_are_kept_and_name_nobody(kind, members):
    feedback = only(ses.event(kind.value, **members))
    assert (feedback.kind, feedback.address, feedback.attempt_id) == (kind, None, ses.ATTEMPT_ID)


@pytest.mark.parametrize(
    "message", [ses.CONFIRMED_TOPIC_JSON, ses.CONFIRMED_TOPIC_TEXT, ses.CONFIRMED_TOPIC_TEXT + "\n"]
)
def test_the_messages_by_which_ses_tests_a_topic_say_nothing(message):
    assert parse_event(message) == ()


def test_nobody_is_blamed_for_standing_in_the_destination():
    recipients = [{"emailAddress": ses.OTHER_RECIPIENT}, {"emailAddress": ses.RECIPIENT}]
    bounced = parse(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=recipients)))
    complained = parse(ses.event("Complaint", complaint=ses.complaint(complainedRecipients=recipients)))
    for feedbacks in (bounced, complained):
        assert [feedback.address for feedback in feedbacks] == [ses.OTHER_RECIPIENT, ses.RECIPIENT]


def test_a_recipient_whose_mail_is_only_late_does_not_share_the_permanent_bounce_of_another():
    recipients = [
        {"emailAddress": ses.RECIPIENT, "action": "failed", "status": "5.0.0"},
        {"emailAddress": ses.OTHER_RECIPIENT, "action": "delayed", "status": "4.0.0"},
    ]
    failed, late = parse(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=recipients)))
    assert (failed.bounce_type, late.bounce_type) == (BounceType.PERMANENT, BounceType.TRANSIENT)


def test_without_a_delivery_report_a_bounce_names_only_the_address():
    feedback = only(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=[{"emailAddress": ses.RECIPIENT}])))
    assert (feedback.address, feedback.status_code, feedback.diagnostic) == (ses.RECIPIENT, None, None)


@pytest.mark.parametrize(
    "spelling", ["A Name <a@example.com>", "=?utf-8?q?N=C3=A4me?= <a@example.com>", " a@example.com "]
)
def test_an_address_is_reported_bare(spelling):
    bounce = ses.bounce(bouncedRecipients=[{"emailAddress": spelling}])
    assert only(ses.event("Bounce", bounce=bounce)).address == "a@example.com"


def test_texts_of_strangers_are_made_printable_and_short():
    hostile = {"emailAddress": "a@example.com\x00\ud800", "diagnosticCode": "\x1b[31m550 no\r\n" + "x" * 2000}
    feedback = only(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=[hostile])))
    assert feedback.address.isprintable()
    assert feedback.diagnostic.isprintable()
    assert len(feedback.diagnostic) <= 500
    assert feedback.diagnostic.startswith("[31m550 no")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T22:10:03Z", datetime(2026, 11, 21, 22, 10, 3, tzinfo=UTC)),
        ("2026-11-21T22:10:03.250+0000", datetime(2026, 11, 21, 22, 10, 3, 250_000, tzinfo=UTC)),
        ("2026-11-21T15:10:03.25-07:00", datetime(2026, 11, 21, 22, 10, 3, 250_000, tzinfo=UTC)),
        ("2026-11-21T22:10:03", datetime(2026, 11, 21, 22, 10, 3, tzinfo=UTC)),
        ("yesterday", datetime(2026, 11, 21, 22, 10, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime(2026, 11, 21, 22, 10, tzinfo=UTC)),
    ],
)
def test_times_are_read_leniently_and_fall_back_to_the_time_of_acceptance(text, moment):
    assert only(ses.event("Bounce", bounce=ses.bounce(timestamp=text))).occurred_at == moment


class TestAttemptId:
    def of(self, **members):
        return only({"eventType": "Send", "mail": ses.mail(**members), "send": {}}).attempt_id

    def header(self, value, name="X-Sesgate-Attempt"):
        return [{"name": name, "value": value}]

    def test_the_tag_comes_first(self):
        assert self.of(tags={"sesgate-attempt": ["a" * 32]}, headers=self.header("b" * 32)) == "a" * 32

    def test_the_header_stands_in_for_the_tag(self):
        assert self.of(headers=self.header(" " + "b" * 32, name="x-sesgate-attempt")) == "b" * 32

    def test_the_header_stands_in_for_a_malformed_tag(self):
        assert self.of(tags={"sesgate-attempt": ["nonsense"]}, headers=self.header("b" * 32)) == "b" * 32

    def test_only_the_first_header_counts(self):
        assert self.of(headers=[*self.header("b" * 32), *self.header("c" * 32)]) == "b" * 32

    @pytest.mark.parametrize("value", ["", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", "../" + "a" * 29])
    def test_what_is_not_ours_is_no_attempt_id(self, value):
        assert self.of(tags={"sesgate-attempt": [value]}) is None

    @pytest.mark.parametrize("tags", [[], {"sesgate-attempt": []}, {"sesgate-attempt": "a"}, {"sesgate-attempt": [1]}])
    def test_tags_of_another_shape_are_no_attempt_id(self, tags):
        event = {"eventType": "Send", "mail": {**ses.mail(), "tags": tags, "headers": [None, {"name": 1}]}, "send": {}}
        assert only(event).attempt_id is None


class TestDedupeKey:
    def test_both_formats_of_one_bounce_share_it(self):
        first = only(ses.event("Bounce", bounce=ses.bounce()))
        second = only(ses.notification("Bounce", bounce=ses.bounce(timestamp="2026-11-21T22:10:03.250+00:00")))
        assert first.dedupe_key == second.dedupe_key

    def test_recipients_of_one_event_do_not(self):
        recipients = [{"emailAddress": ses.OTHER_RECIPIENT}, {"emailAddress": ses.RECIPIENT}]
        first, second = parse(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=recipients)))
        assert first.dedupe_key != second.dedupe_key

    def test_a_delay_that_repeats_later_is_another_event(self):
        first = only(ses.event("DeliveryDelay", deliveryDelay=ses.delivery_delay()))
        later = ses.delivery_delay(timestamp="2026-11-21T23:40:00.000Z")
        assert first.dedupe_key != only(ses.event("DeliveryDelay", deliveryDelay=later)).dedupe_key

    def test_the_spelling_of_a_time_does_not_matter(self):
        first = only(ses.event("Delivery", delivery=ses.delivery()))
        second = only(ses.notification("Delivery", delivery=ses.delivery(timestamp="2026-11-21T22:10:02+0000")))
        assert first.dedupe_key == second.dedupe_key

    def test_a_send_and_a_reject_of_one_mail_differ(self):
        send = only(ses.event("Send", send={}))
        reject = only(ses.event("Reject", reject={"reason": "Bad content"}))
        assert send.dedupe_key != reject.dedupe_key


BROKEN = {
    "not JSON": "hello",
    "nothing": "",
    "no object": "[]",
    "no kind": '{"mail": {}}',
    "a kind of another program": '{"eventType": "s3:ObjectCreated:Put", "mail": {}}',
    "inbound mail": '{"notificationType": "Received", "mail": {}}',
    "a kind that is no text": '{"eventType": ["Bounce"]}',
    "a key twice": json.dumps(ses.event("Send", send={}))[:-1] + ', "eventType": "Bounce"}',
    "NaN": json.dumps(ses.event("Delivery", delivery=ses.delivery(processingTimeMillis=float("nan")))),
    "deep nesting": "[" * 100_000,
    "a number too long": '{"eventType": ' + "9" * 5000 + "}",
    "no mail": '{"eventType": "Send", "send": {}}',
    "a mail that is no object": '{"eventType": "Send", "send": {}, "mail": "x"}',
    "no message id": json.dumps({**ses.event("Send", send={}), "mail": {"timestamp": "2026-11-21T22:10:00Z"}}),
    "a message id that is none": json.dumps({"eventType": "Send", "send": {}, "mail": ses.mail(messageId="a\nb")}),
    "no time at all": json.dumps({"eventType": "Send", "send": {}, "mail": ses.mail(timestamp=1)}),
    "a bounce without its facts": json.dumps(ses.event("Bounce")),
    "a bounce of nobody": json.dumps(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=[]))),
    "a bounce of numbers": json.dumps(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=[1]))),
    "a bounce without an address": json.dumps(ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=[{}]))),
    "a bounce of a blank": json.dumps(
        ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=[{"emailAddress": " "}]))
    ),
    "a bounce type of tomorrow": json.dumps(ses.event("Bounce", bounce=ses.bounce("Eternal"))),
    "a delivery to a number": json.dumps(ses.event("Delivery", delivery=ses.delivery(recipients=[1]))),
}


@pytest.mark.parametrize("message", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_event_is_left_visible_with_one_sentence(message):
    with pytest.raises(UnknownEventError, match=r"^[A-Z][^\n]*\.$"):
        parse_event(message)


def test_an_address_of_comments_in_comments_ends_no_worker():
    """Python's parser recursed into them up to 3.12: then it is no event. Later ones read an address."""
    event = ses.event("Bounce", bounce=ses.bounce(bouncedRecipients=[{"emailAddress": "(" * 50_000}]))
    with suppress(UnknownEventError):
        parse_event(json.dumps(event))


def test_the_destination_never_stands_in_for_missing_recipients():
    bounce = ses.bounce()
    del bounce["bouncedRecipients"]
    with pytest.raises(UnknownEventError, match="bouncedRecipients"):
        parse(ses.event("Bounce", bounce=bounce))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
EVENTS = [
    ses.event("Bounce", bounce=ses.bounce()),
    ses.event("Complaint", complaint=ses.complaint()),
    ses.event("Delivery", delivery=ses.delivery()),
    ses.event("DeliveryDelay", deliveryDelay=ses.delivery_delay()),
    ses.event("Reject", reject={"reason": "Bad content"}),
    ses.notification("Bounce", bounce=ses.bounce()),
]


def replaced(value, path, new):
    """A copy of `value` in which what `path` leads to (each step an index into the members) is `new`."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    steps = list(value) if isinstance(value, dict) else list(range(len(value)))
    chosen = steps[path[0] % len(steps)]
    copy = value.copy()
    copy[chosen] = replaced(value[chosen], path[1:], new)
    return copy


@given(st.sampled_from(EVENTS), st.lists(st.integers(0, 20), min_size=1, max_size=5), JSON)
def test_an_event_with_anything_anywhere_is_understood_or_unknown(event, path, new):
    try:
        feedbacks = parse_event(json.dumps(replaced(event, path, new)))
    except UnknownEventError:
        return
    for feedback in feedbacks:
        assert feedback.dedupe_key
        assert all(
            text is None or text.isprintable() for text in (feedback.address, feedback.diagnostic, feedback.sub_type)
        )


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_understood_or_unknown(text):
    try:
        parse_event(text)
    except UnknownEventError:
        return
