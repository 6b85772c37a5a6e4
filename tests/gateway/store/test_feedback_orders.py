"""The end is the same in whatever order SES's reports come, however often, in either format or both, early or late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.notifications import NewNotification
from tasks.feedback import FeedbackProcessor
from tests.support.mail import accept, begun, change, rows
from tests.support.payloads import ses
from tests.support.payloads.examples import EXAMPLES, TESTS_OF_A_TOPIC

_numbers = count()
# Recent, so that what ends by itself is still in force.
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)


def at(minute):
    return f"{BEGIN + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%S.000Z}"


def arrive(stores, message):
    text = message if isinstance(message, str) else json.dumps(message) + "\n"
    id_ = stores.notifications.store(NewNotification(f"sns-{next(_numbers)}", "arn:aws:sns:us-east-1:1:t", text, BEGIN))
    FeedbackProcessor(stores.notifications).process(id_)


def settle(stores):
    """What waited for its mail comes again, as it does for five minutes."""
    for (id_,) in rows(stores, "SELECT id FROM notifications WHERE processed_at IS NULL"):
        FeedbackProcessor(stores.notifications).process(id_)
    assert rows(stores, "SELECT error FROM notifications WHERE processed_at IS NULL") == []


def end_state(stores):
    """All that may not depend on the order, without row numbers and the times of our own clock."""
    return {
        "recipients": rows(
            stores, "SELECT address, status, counted_at IS NULL, ended_at IS NULL FROM recipients ORDER BY id"
        ),
        "events": rows(
            stores,
            "SELECT e.dedupe_key, r.address, a.attempt_id, e.kind, e.bounce_type, e.sub_type, e.complaint_type,"
            " e.address_key, e.blamed_key, e.occurred_at FROM events e LEFT JOIN recipients r ON r.id = e.recipient_id"
            " LEFT JOIN attempts a ON a.attempt_id = e.attempt_id ORDER BY e.dedupe_key",
        ),
        "suppressions": rows(
            stores,
            "SELECT s.address_key, s.address, s.reason, s.source, s.detail, s.since, s.expires_at, s.actor,"
            " e.dedupe_key FROM suppressions s LEFT JOIN events e ON e.id = s.event_id ORDER BY s.address_key",
        ),
    }


def forget(stores):
    for table in ("events", "notifications", "suppressions", "suppression_history", "attempts", "recipients"):
        change(stores, f"DELETE FROM {table}")


# The examples


@dataclass(frozen=True)
class Mail:
    """A mail to one recipient; without an attempt id another system of the account sent it."""

    number: int
    address: str
    attempt_id: str | None

    @property
    def message_id(self):
        return f"ses-{self.number}"

    def of(self, form, kind, members, minute):
        """A report about this mail."""
        text = json.dumps(form(kind, **members))
        for old, new in (
            (ses.FEEDBACK_ID, f"feedback-{self.number}-{minute}"),
            (ses.MESSAGE_ID, self.message_id),
            (ses.ATTEMPT_ID, self.attempt_id or "none"),
            (ses.RECIPIENT, self.address),
        ):
            text = text.replace(old, new)
        report = json.loads(text)
        report["mail"]["timestamp"] = at(minute)
        for facts in members:
            if "timestamp" in report[facts]:
                report[facts]["timestamp"] = at(minute)
        return report


def sent(stores, addresses, *, recorded=True):
    """Mail that SES has taken; if `recorded`, its answer has been written down."""
    made = []
    for number, address in enumerate(addresses):
        (id_,) = accept(stores, address)
        claim = begun(stores, id_)
        if recorded:
            stores.sending.accepted(claim, f"ses-{number}")
        change(stores, "UPDATE attempts SET attempt_id = ? WHERE recipient_id = ?", f"{number:032x}", id_)
        made.append(Mail(number, address, f"{number:032x}"))
    return made


def reports_of_examples(mails):
    return [
        mail.of(form, example.kind, example.members, 10 + mail.number)
        for mail, example in zip(mails, EXAMPLES, strict=True)
        for form in example.forms
    ]


def expected():
    """What the examples say of themselves."""
    return (
        [(example.status, example.is_counted) for example in EXAMPLES],
        {f"r{number}@example.com": one.reason for number, one in enumerate(EXAMPLES) if one.reason},
    )


def found(stores):
    statuses = rows(stores, "SELECT status, counted_at IS NOT NULL FROM recipients ORDER BY id")
    suppressed = dict(rows(stores, "SELECT address_key, reason FROM suppressions"))
    return [(status, bool(counted)) for status, counted in statuses], suppressed


ORDERS = {
    "forward": lambda reports: reports,
    "backward": lambda reports: reports[::-1],
    "three times over": lambda reports: reports * 3,
    "each three times": lambda reports: [report for report in reports for _ in range(3)],
}


def test_every_example_has_its_effect_in_every_order(stores):
    ends = []
    for order in ORDERS.values():
        mails = sent(stores, [f"r{number}@example.com" for number in range(len(EXAMPLES))])
        for report in order(reports_of_examples(mails)):
            arrive(stores, report)
        settle(stores)
        assert found(stores) == expected()
        ends.append(end_state(stores))
        forget(stores)
    assert all(end == ends[0] for end in ends)
    assert len(ends[0]["events"]) == len(EXAMPLES)


def test_reports_that_are_ahead_of_our_own_record_have_the_same_effect(stores):
    addresses = [f"r{number}@example.com" for number in range(len(EXAMPLES))]
    mails = sent(stores, addresses, recorded=False)
    for report in reports_of_examples(mails):
        arrive(stores, report)
    for mail in mails:
        change(stores, "UPDATE attempts SET ses_message_id = ? WHERE attempt_id = ?", mail.message_id, mail.attempt_id)
    settle(stores)
    assert found(stores) == expected()


def test_reports_of_mail_of_other_systems_suppress_all_the_same(stores):
    others = [Mail(number, f"r{number}@example.com", None) for number in range(len(EXAMPLES))]
    for report in reports_of_examples(others):
        arrive(stores, report)
    change(stores, "UPDATE notifications SET received_at = received_at - ?", 301_000_000)
    settle(stores)
    assert found(stores) == ([], expected()[1])


@pytest.mark.parametrize("message", TESTS_OF_A_TOPIC)
def test_the_test_of_a_topic_is_processed_and_has_no_effect(stores, message):
    arrive(stores, message)
    settle(stores)
    assert end_state(stores) == {"recipients": [], "events": [], "suppressions": []}


# Any order of anything

JANE = "jane@example.com"
KINDS = {
    "send": ("Send", {"send": {}}),
    "delivery": ("Delivery", {"delivery": ses.delivery()}),
    "delay": ("DeliveryDelay", {"deliveryDelay": ses.delivery_delay()}),
    "soft": ("Bounce", {"bounce": ses.bounce("Transient", "General")}),
    "full": ("Bounce", {"bounce": ses.bounce("Transient", "MailboxFull")}),
    "large": ("Bounce", {"bounce": ses.bounce("Transient", "MessageTooLarge")}),
    "listed": ("Bounce", {"bounce": ses.bounce("Permanent", "Suppressed")}),
    "echo": ("Bounce", {"bounce": ses.bounce("Permanent", "OnAccountSuppressionList")}),
    "hard": ("Bounce", {"bounce": ses.bounce()}),
    "complaint": ("Complaint", {"complaint": ses.complaint()}),
    "no complaint": ("Complaint", {"complaint": ses.complaint("not-spam")}),
    "open": ("Open", {"open": ses.OPEN}),
}
# Soft bounces and deliveries matter to one another most.
COMMON = ("soft", "soft", "soft", "full", "delivery")


@dataclass(frozen=True)
class History:
    """What happens to seven mails to one address: (mail, kind) in the order of time; and how that is reported."""

    happens: Sequence[tuple[int, str]]
    reported: Sequence[tuple[int, bool]]  # which of them, and whether as an identity notification


@st.composite
def histories(draw):
    one = st.tuples(
        st.integers(0, 6), st.one_of(st.sampled_from(COMMON), st.sampled_from(COMMON), st.sampled_from([*KINDS]))
    )
    happens = draw(st.lists(one, min_size=1, max_size=14))
    more = draw(st.lists(st.tuples(st.integers(0, len(happens) - 1), st.booleans()), max_size=6))
    reported = draw(st.permutations([*((number, False) for number in range(len(happens))), *more]))
    return History(tuple(happens), tuple(reported))


def report(mails, history, number, *, as_identity):
    mail, name = history.happens[number]
    kind, members = KINDS[name]
    form = ses.notification if as_identity and kind in ("Bounce", "Complaint", "Delivery") else ses.event
    return mails[mail].of(form, kind, members, number)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_any_order_and_repetition_of_any_reports_has_one_end(stores, history):
    forget(stores)
    mails = sent(stores, [JANE] * 5)
    mails += [Mail(number, JANE, "f" * 32) for number in (5, 6)]  # of other systems
    for number in range(len(history.happens)):
        arrive(stores, report(mails, history, number, as_identity=False))
    in_order = end_state(stores)
    forget(stores)
    sent(stores, [JANE] * 5)
    for number, as_identity in history.reported:
        arrive(stores, report(mails, history, number, as_identity=as_identity))
    change(stores, "UPDATE notifications SET received_at = received_at - ?", 301_000_000)
    settle(stores)
    assert end_state(stores) == in_order
