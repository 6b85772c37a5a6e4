"""Whatever becomes of several mails to two addresses, and however that is reported: there is one end.

Beside the order: reports of both formats, repetitions, reports that are ahead of our own record, mail of other systems,
and months of it, so that windows close and suppressions end. Short counts make the rare cases common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.store.notifications import NewNotification, Notifications
from gateway.suppression_policy import Policy, Reason
from tests.gateway.store.test_feedback_orders import end_state, forget
from tests.support.mail import accept, begun, change, rows

_numbers = count()
# Nothing ends within half an hour of now: all that happens lies at full hours before this moment, or minutes earlier.
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
ADDRESSES = ("jane@example.com", "bob@example.com")
ELSEWHERE = "mailbox@elsewhere.example"
OURS, OTHERS = 6, 3  # mails
KINDS = {
    "send": (EventKind.SEND, {}),
    "delivery": (EventKind.DELIVERY, {}),
    "delay": (EventKind.DELIVERY_DELAY, {"sub_type": "General"}),
    "open": (EventKind.OPEN, {}),
    "click": (EventKind.CLICK, {}),
    "subscription": (EventKind.SUBSCRIPTION, {}),
    "soft": (EventKind.BOUNCE, {"bounce_type": BounceType.TRANSIENT, "sub_type": "General"}),
    "unread": (EventKind.BOUNCE, {"bounce_type": BounceType.UNDETERMINED, "sub_type": "Undetermined"}),
    "large": (EventKind.BOUNCE, {"bounce_type": BounceType.TRANSIENT, "sub_type": "MessageTooLarge"}),
    "listed": (EventKind.BOUNCE, {"bounce_type": BounceType.PERMANENT, "sub_type": "Suppressed"}),
    "echo": (EventKind.BOUNCE, {"bounce_type": BounceType.PERMANENT, "sub_type": "OnAccountSuppressionList"}),
    "hard": (EventKind.BOUNCE, {"bounce_type": BounceType.PERMANENT, "sub_type": "NoEmail"}),
    "left": (EventKind.BOUNCE, {"bounce_type": BounceType.PERMANENT, "sub_type": "UnsubscribedRecipient"}),
    "complaint": (EventKind.COMPLAINT, {"complaint_type": "abuse"}),
    "echoed complaint": (EventKind.COMPLAINT, {"sub_type": "OnAccountSuppressionList"}),
    "no complaint": (EventKind.COMPLAINT, {"complaint_type": "not-spam"}),
}
FEW = ("soft", "soft", "soft", "delivery", "delivery", "listed")
WHOLE_MAIL = ("send", "open", "click", "subscription")
IDENTITY = (EventKind.BOUNCE, EventKind.COMPLAINT, EventKind.DELIVERY)
POLICIES = [
    Policy(2, timedelta(days=7), {Reason.SOFT_BOUNCE: timedelta(days=14), Reason.GLOBAL_LIST: timedelta(days=14)}),
    Policy(3, timedelta(days=2), {Reason.SOFT_BOUNCE: timedelta(days=5), Reason.GLOBAL_LIST: timedelta(days=30)}),
    # What people ask for ends as well, but after all that passes.
    Policy(
        1,
        timedelta(hours=3),
        {
            Reason.SOFT_BOUNCE: timedelta(days=3),
            Reason.GLOBAL_LIST: timedelta(days=1),
            Reason.BOUNCE: timedelta(days=60),
            Reason.COMPLAINT: timedelta(days=50),
        },
    ),
]


@dataclass(frozen=True)
class Happened:
    """Something that SES reports: on which mail, and how many hours ago."""

    mail: int
    kind: str
    hours: int
    forwarded: bool


@dataclass(frozen=True)
class Report:
    """One notification: what it tells, whether as an identity notification, and whether ahead of our own record."""

    happened: Happened
    as_identity: bool
    is_early: bool


MAILS, HOURS = st.integers(0, OURS + OTHERS - 1), st.integers(1, 24 * 30)


@st.composite
def single(draw):
    """Anything at any time."""
    kinds = st.one_of(st.sampled_from(FEW), st.sampled_from([*KINDS]))
    return [Happened(draw(MAILS), draw(kinds), draw(HOURS), draw(st.booleans()))]


@st.composite
def reply(draw):
    """A delivery, and what an absent reader's machine answers some time later."""
    mail, first, later = draw(MAILS), draw(HOURS), draw(HOURS)
    return [
        Happened(mail, "delivery", max(first, later), forwarded=False),
        Happened(mail, "soft", min(first, later), forwarded=False),
    ]


@st.composite
def streak(draw):
    """Soft bounces of one address, hour after hour."""
    first, hours = draw(st.integers(0, 1)), draw(HOURS)
    mails = draw(st.lists(st.sampled_from(range(first, OURS + OTHERS, 2)), min_size=2, unique=True))
    return [Happened(mail, "soft", hours + place, forwarded=False) for place, mail in enumerate(mails)]


@st.composite
def happenings(draw):
    episodes = draw(st.lists(st.one_of(single(), reply(), streak()), min_size=1, max_size=8))
    found = {(it.mail, it.kind, it.hours): it for episode in episodes for it in episode}
    return list(found.values())


@st.composite
def reports(draw, happened):
    again = draw(st.lists(st.sampled_from(happened), max_size=8))
    one = st.tuples(st.booleans(), st.booleans())
    return [Report(it, *draw(one)) for it in draw(st.permutations([*happened, *again]))]


def address_of(mail):
    return ADDRESSES[mail % len(ADDRESSES)]


def feedback(report):
    it = report.happened
    kind, fields = KINDS[it.kind]
    ours = it.mail < OURS
    as_identity = report.as_identity and kind in IDENTITY
    told = ELSEWHERE if it.forwarded and ours else address_of(it.mail)
    has_id = kind in (EventKind.BOUNCE, EventKind.COMPLAINT)
    return Feedback(
        kind=kind,
        ses_message_id=f"ses-{it.mail}",
        occurred_at=NOW - timedelta(hours=it.hours, minutes=it.mail, seconds=[*KINDS].index(it.kind)),
        attempt_id=f"{it.mail:032x}" if ours and not as_identity else None,
        address=None if it.kind in WHOLE_MAIL else told,
        feedback_id=f"f-{it.mail}-{it.kind}-{it.hours}" if has_id else None,
        **fields,
    )


class Installation:
    """Six mails of ours, three of other systems, and what is reported on them."""

    def __init__(self, stores, policy):
        forget(stores)
        change(stores, "DELETE FROM tallies")
        self._stores = stores
        self._notifications = Notifications(stores.db, policy, dispatch_timeout=timedelta(seconds=5))
        self._waiting, self._recorded = [], set()
        self._sent = [self._send(mail) for mail in range(OURS)]

    def _send(self, mail):
        (id_,) = accept(self._stores, address_of(mail))
        claim = begun(self._stores, id_)
        attempt_id = f"{mail:032x}"
        change(self._stores, "UPDATE attempts SET attempt_id = ? WHERE recipient_id = ?", attempt_id, id_)
        change(self._stores, "UPDATE recipients SET attempt_id = ? WHERE id = ?", attempt_id, id_)
        return replace(claim, attempt_id=attempt_id)

    def arrive(self, report):
        """What is early comes before SES's answer is written down, and again afterwards."""
        told = feedback(report)
        made = NewNotification(f"sns-{next(_numbers)}", "arn:aws:sns:us-east-1:1:t", "{}", NOW)
        id_ = self._notifications.store(made)
        mail = report.happened.mail
        if report.is_early and told.attempt_id is None and mail not in self._recorded and not report.happened.forwarded:
            self._notifications.await_match(id_, [told], "not known yet", timedelta(0))
            self._waiting.append((id_, told))
            return
        if mail < OURS:
            self.record(mail)
        self._notifications.apply(id_, [told], wait_for_match=False)

    def record(self, mail):
        if mail not in self._recorded:
            self._recorded.add(mail)
            self._stores.sending.accepted(self._sent[mail], f"ses-{mail}")

    def end(self):
        for mail in range(OURS):
            self.record(mail)
        for id_, told in self._waiting:
            self._notifications.apply(id_, [told], wait_for_match=False)
        return {**end_state(self._stores), "in force": self._tallied()}

    def _tallied(self):
        """What is counted as begun and not as ended must be what there is."""
        begun_less_ended = rows(
            self._stores,
            "SELECT label, sum(CASE name WHEN 'suppressions_begun' THEN count ELSE -count END) FROM tallies"
            " WHERE name IN ('suppressions_begun', 'suppressions_ended') GROUP BY label ORDER BY label",
        )
        counted = {reason: int(number) for reason, number in begun_less_ended if number}
        assert counted == dict(rows(self._stores, "SELECT reason, count(*) FROM suppressions GROUP BY reason"))
        return counted


def ends(stores, policy, told: Sequence[Report]):
    installation = Installation(stores, policy)
    for report in told:
        installation.arrive(report)
    return installation.end()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), policy=st.sampled_from(POLICIES), happened=happenings())
def test_there_is_one_end_however_it_is_reported(stores, data, policy, happened):
    in_order = sorted(happened, key=lambda it: -it.hours)
    plainly = ends(stores, policy, [Report(it, as_identity=False, is_early=False) for it in in_order])
    assert ends(stores, policy, data.draw(reports(happened))) == plainly
