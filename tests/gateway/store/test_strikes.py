"""Which bounces suppress an address, and which deliveries lift that, whatever the order in which they are reported."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.feedback import BounceType, EventKind, Feedback
from gateway.store.notifications import NewNotification
from gateway.store.times import now_micros, span
from gateway.suppression_policy import Reason
from tests.support.mail import accept, begun, change, column, rows

JANE = "jane@example.com"
NOW = datetime.now(UTC).replace(microsecond=0)
_numbers = itertools.count()


def ago(**length):
    return NOW - timedelta(**length)


def report(kind, mail, at, *, address=JANE, **fields):
    """About a mail that another system of the account sent."""
    return Feedback(kind=kind, ses_message_id=mail, occurred_at=at, address=address, **fields)


def soft(mail, at, sub_type="General", **fields):
    feedback_id = fields.pop("feedback_id", f"f-{mail}-{at.timestamp()}")
    bounce = {"bounce_type": BounceType.TRANSIENT, "sub_type": sub_type, "feedback_id": feedback_id}
    return report(EventKind.BOUNCE, mail, at, **bounce | fields)


def hard(mail, at, sub_type="General", **fields):
    return soft(mail, at, sub_type, bounce_type=BounceType.PERMANENT, **fields)


def listed(mail, at, **fields):
    return hard(mail, at, "Suppressed", **fields)


def delivered(mail, at, **fields):
    return report(EventKind.DELIVERY, mail, at, **fields)


def complained(mail, at, **fields):
    return report(EventKind.COMPLAINT, mail, at, feedback_id=f"c-{mail}", **fields)


def five_strikes(first=0):
    return [soft(f"mail-{number}", ago(hours=20 - number)) for number in range(first, first + 5)]


def stored(stores):
    made = NewNotification(f"sns-{next(_numbers)}", "arn:aws:sns:us-east-1:1:t", "{}", NOW)
    return stores.notifications.store(made)


def arrive(stores, *reports):
    for one in reports:
        stores.notifications.apply(stored(stores), [one], wait_for_match=False)


def forget(stores):
    for table in ("events", "suppressions"):
        change(stores, f"DELETE FROM {table}")


def in_force(stores, address=JANE):
    return stores.suppressions.find(parse_mailbox(address))


def reason_of(stores, address=JANE):
    found = in_force(stores, address)
    return found and found.reason


# At the limit


def test_the_fifth_mail_that_bounces_softly_suppresses_since_its_bounce(stores):
    strikes = five_strikes()
    arrive(stores, *strikes[:4])
    assert in_force(stores) is None
    arrive(stores, strikes[4])
    found = in_force(stores)
    assert (found.reason, found.since) == (Reason.SOFT_BOUNCE, strikes[4].occurred_at)
    assert found.expires_at == strikes[4].occurred_at + timedelta(days=14)
    assert (found.source, found.detail, found.actor) == ("SES Bounce", "Bounce Transient/General", "SES")
    assert rows(stores, "SELECT ses_message_id FROM events WHERE id = ?", found.event_id) == [("mail-4",)]


def test_the_order_of_strikes_does_not_matter(stores):
    arrive(stores, *reversed(five_strikes()))
    assert in_force(stores).since == five_strikes()[4].occurred_at


def test_a_strike_that_comes_late_makes_an_earlier_beginning(stores):
    strikes = [soft(f"mail-{number}", ago(hours=20 - number)) for number in range(6)]
    arrive(stores, *strikes[1:])
    assert in_force(stores).since == strikes[5].occurred_at
    arrive(stores, strikes[0])
    assert in_force(stores).since == strikes[4].occurred_at
    assert in_force(stores).expires_at == strikes[5].occurred_at + timedelta(days=14)


def test_an_event_that_is_repeated_is_one_strike(stores):
    strikes = five_strikes()
    arrive(stores, *strikes[:4], *strikes[:4], *strikes[:4])
    assert in_force(stores) is None


def test_a_mail_that_bounces_again_and_again_is_one_strike(stores):
    arrive(stores, *(soft("one-mail", ago(hours=20 - number)) for number in range(8)))
    assert in_force(stores) is None


def test_strikes_that_lie_apart_do_not_suppress(stores):
    arrive(stores, *(soft(f"mail-{number}", ago(days=20 - 2 * number)) for number in range(10)))
    assert in_force(stores) is None


@pytest.mark.parametrize(
    "sub_type", ["MessageTooLarge", "ContentRejected", "AttachmentRejected", "CustomTimeoutExceeded"]
)
def test_a_bounce_about_the_message_is_no_strike(stores, sub_type):
    arrive(stores, *(soft(f"mail-{number}", ago(hours=number), sub_type) for number in range(1, 10)))
    assert in_force(stores) is None


def test_a_bounce_of_a_kind_that_nobody_could_read_is_a_strike(stores):
    kind = {"bounce_type": BounceType.UNDETERMINED, "sub_type": "Undetermined"}
    arrive(stores, *(soft(f"mail-{number}", ago(hours=number), **kind) for number in range(1, 6)))
    assert reason_of(stores) is Reason.SOFT_BOUNCE


def test_our_own_mail_counts_against_its_recipient_and_not_where_it_was_forwarded_to(stores):
    ids = [accept(stores, JANE)[0] for _ in range(5)]
    claims = [begun(stores, id_) for id_ in ids]
    for hours, claim in enumerate(claims, 1):
        bounce = soft(f"mail-{hours}", ago(hours=hours), address="mailbox@elsewhere.example")
        arrive(stores, _of(claim, bounce))
    assert reason_of(stores) is Reason.SOFT_BOUNCE
    assert in_force(stores, "mailbox@elsewhere.example") is None
    assert in_force(stores).address == JANE


def _of(claim, feedback):
    return Feedback(
        **{name: getattr(feedback, name) for name in Feedback.__dataclass_fields__} | {"attempt_id": claim.attempt_id}
    )


# Deliveries


def test_an_automatic_reply_after_a_delivery_is_no_strike_in_either_order(stores):
    pairs = [(delivered(f"m-{n}", ago(hours=n, seconds=5)), soft(f"m-{n}", ago(hours=n))) for n in range(1, 9)]
    arrive(stores, *itertools.chain(*pairs))
    assert in_force(stores) is None


def test_automatic_replies_that_are_ahead_of_their_deliveries_are_forgiven_when_these_come(stores):
    pairs = [(delivered(f"m-{n}", ago(hours=n, seconds=5)), soft(f"m-{n}", ago(hours=n))) for n in range(1, 6)]
    arrive(stores, *(reply for _, reply in pairs))
    assert reason_of(stores) is Reason.SOFT_BOUNCE
    arrive(stores, *(delivery for delivery, _ in pairs))
    assert in_force(stores) is None


def test_an_automatic_reply_prolongs_nothing_in_whatever_order_its_delivery_is_told(stores):
    delivery, reply = delivered("x", ago(hours=21)), soft("x", ago(hours=10))
    strikes = five_strikes()
    for order in itertools.permutations([[delivery], strikes, [reply]]):
        arrive(stores, *itertools.chain(*order))
        found = in_force(stores)
        assert (found.since, found.expires_at) == (
            strikes[4].occurred_at,
            strikes[4].occurred_at + timedelta(days=14),
        ), order
        forget(stores)


def test_an_automatic_reply_begins_nothing_in_whatever_order_its_delivery_is_told(stores):
    delivery, reply, *strikes = delivered("x", ago(hours=21)), soft("x", ago(hours=17, minutes=30)), *five_strikes()
    for order in itertools.permutations([[delivery], strikes, [reply]]):
        arrive(stores, *itertools.chain(*order))
        assert in_force(stores).since == strikes[4].occurred_at, order
        assert rows(stores, "SELECT ses_message_id FROM events WHERE id = ?", in_force(stores).event_id) == [
            ("mail-4",)
        ]
        forget(stores)


def test_what_else_has_bounced_does_not_tell_whether_a_bounce_is_a_reply(stores):
    """This one came 14 days and an hour after its delivery; another bounce was an hour less behind it."""
    delivery, late = delivered("x", ago(days=14, hours=2)), soft("x", ago(hours=1))
    strikes = [soft(f"m-{number}", ago(hours=number)) for number in range(2, 6)]
    for order in ([delivery, late, *strikes], [*strikes, late, delivery], [delivery, *reversed(strikes), late]):
        arrive(stores, *order)
        assert in_force(stores).since == late.occurred_at
        forget(stores)


def test_a_delivery_starts_the_count_anew(stores):
    strikes = five_strikes()
    arrive(stores, *strikes[:4], delivered("other", ago(hours=16, minutes=30)), strikes[4])
    assert in_force(stores) is None


@pytest.mark.parametrize("bounces", [five_strikes(), [listed("m", ago(hours=16))]], ids=["soft-bounce", "global-list"])
def test_a_later_delivery_lifts_what_passes_and_the_history_tells_it(stores, bounces):
    arrive(stores, *bounces)
    assert in_force(stores) is not None
    arrive(stores, delivered("other", ago(hours=1)))
    assert in_force(stores) is None
    (ended,) = stores.suppressions.history(parse_mailbox(JANE))
    assert (ended.ended_by, ended.ended_why) == ("SES", "delivered again")


@pytest.mark.parametrize("bounces", [five_strikes(), [listed("m", ago(hours=16))]], ids=["soft-bounce", "global-list"])
def test_an_earlier_delivery_lifts_nothing_whenever_it_is_told(stores, bounces):
    arrive(stores, *bounces, delivered("other", ago(days=2)))
    assert in_force(stores) is not None


def test_bounces_that_come_after_a_later_delivery_do_not_suppress(stores):
    arrive(stores, delivered("other", ago(hours=1)), *five_strikes(), listed("m", ago(hours=2)))
    assert in_force(stores) is None


@pytest.mark.parametrize("later", ["other@example.com", JANE])
def test_a_delivery_counts_in_whatever_part_of_its_index_it_lies(stores, later):
    """The numbers of these two events differ by many parts."""
    strikes = five_strikes()
    arrive(stores, delivered("m", strikes[3].occurred_at), soft("n", ago(hours=1), address="other@example.com"))
    change(stores, "UPDATE events SET id = id + 100000 WHERE address = ?", later)
    arrive(stores, *strikes)
    assert reason_of(stores) is None


def test_a_delivery_between_two_series_leaves_the_second(stores):
    early, late = five_strikes(0), five_strikes(10)
    between = delivered("other", ago(hours=12))
    for order in ((*early, *late, between), (*late, between, *early), (between, *late, *early)):
        arrive(stores, *order)
        assert in_force(stores).since == late[4].occurred_at
        forget(stores)


def test_a_delivery_lifts_neither_a_hard_bounce_nor_a_complaint(stores):
    arrive(stores, hard("m", ago(hours=16)), delivered("other", ago(hours=1)))
    assert reason_of(stores) is Reason.BOUNCE
    arrive(stores, complained("m", ago(hours=16)), delivered("another", ago(minutes=1)))
    assert reason_of(stores) is Reason.COMPLAINT


# Ends


def test_what_ses_has_on_its_global_list_is_suppressed_for_a_while_from_the_last_time_it_said_so(stores):
    first, last = listed("m-1", ago(days=10)), listed("m-2", ago(days=3))
    for order in ((first, last), (last, first)):
        arrive(stores, *order)
        found = in_force(stores)
        assert (found.reason, found.since) == (Reason.GLOBAL_LIST, first.occurred_at)
        assert found.expires_at == last.occurred_at + timedelta(days=14)
        forget(stores)


def test_a_report_that_comes_after_its_suppression_would_have_ended_suppresses_nobody(stores):
    arrive(stores, listed("m", ago(days=15)))
    assert in_force(stores) is None


def test_a_hard_bounce_and_a_complaint_last(stores):
    arrive(stores, hard("m", ago(days=80)))
    assert in_force(stores).expires_at is None


def test_the_earliest_of_several_hard_bounces_is_the_beginning(stores):
    first, second = hard("m-1", ago(days=3)), hard("m-2", ago(days=1))
    for order in ((first, second), (second, first)):
        arrive(stores, *order)
        found = in_force(stores)
        assert found.since == first.occurred_at
        assert rows(stores, "SELECT ses_message_id FROM events WHERE id = ?", found.event_id) == [("m-1",)]
        forget(stores)


def test_a_hard_bounce_holds_when_what_a_person_stopped_for_a_while_is_over(stores):
    """Whichever of the two comes first."""
    for first, second in itertools.permutations([stop_for_a_day, lambda _: arrive(stores, hard("m", ago(hours=1)))]):
        first(stores)
        second(stores)
        assert (in_force(stores).reason, in_force(stores).expires_at) == (Reason.MANUAL, None)
        forget(stores)


def stop_for_a_day(stores):
    tomorrow = NOW + timedelta(days=1)
    stores.suppressions.add(
        parse_mailbox(JANE), Reason.MANUAL, source="operator", detail="", actor="jim", expires_at=tomorrow
    )


def test_a_report_of_long_ago_does_not_make_a_suppression_older(stores):
    """It would not have been in force any more, had it come first."""
    month = replace(stores.notifications._policy, lasting={Reason.BOUNCE: timedelta(days=30)})
    stores.notifications._policy = month
    old, new = hard("m-1", ago(days=60)), hard("m-2", ago(days=1))
    for order in ((old, new), (new, old), (new, old, old)):
        arrive(stores, *order)
        assert in_force(stores).since == new.occurred_at
        forget(stores)


# A person's word


def lift(stores):
    assert stores.suppressions.remove(parse_mailbox(JANE), why="she has a new mailbox", actor="jim")


@pytest.mark.parametrize(
    "reports",
    [[hard("m", ago(hours=1))], [complained("m", ago(hours=1))], [listed("m", ago(hours=1))], five_strikes()],
    ids=["bounce", "complaint", "global-list", "soft-bounce"],
)
def test_what_a_person_lifted_is_not_made_again_by_what_was_known_then(stores, reports):
    arrive(stores, *reports)
    lift(stores)
    arrive(stores, *reports)
    assert in_force(stores) is None


@pytest.mark.parametrize("report_of", [hard, complained, listed])
def test_a_report_that_comes_after_a_lifting_suppresses_again_even_if_it_is_older(stores, report_of):
    arrive(stores, hard("m-1", ago(hours=1)))
    lift(stores)
    arrive(stores, report_of("m-2", ago(hours=2)))
    assert in_force(stores) is not None


@pytest.mark.parametrize("report_of", [hard, complained, listed])
def test_a_lifting_by_a_clock_that_was_ahead_does_not_silence_the_reports_until_then(stores, report_of):
    arrive(stores, hard("m-1", ago(hours=1)))
    lift(stores)
    change(stores, "UPDATE suppression_history SET ended_at = ended_at + ?", span(timedelta(days=365)))
    arrive(stores, report_of("m-2", ago(minutes=2)))
    assert in_force(stores) is not None


def test_the_strikes_before_a_lifting_are_forgiven(stores):
    arrive(stores, *five_strikes())
    lift(stores)
    arrive(stores, *five_strikes(5)[:4])
    assert in_force(stores) is None
    arrive(stores, five_strikes(5)[4])
    assert reason_of(stores) is Reason.SOFT_BOUNCE


def test_a_lifting_holds_while_an_early_report_waits_for_its_mail(stores):
    id_, early = stored(stores), hard("unknown", ago(hours=1))
    stores.notifications.await_match(id_, [early], "not known yet", timedelta(0))
    assert reason_of(stores) is Reason.BOUNCE
    lift(stores)
    stores.notifications.await_match(id_, [early], "not known yet", timedelta(0))
    stores.notifications.apply(id_, [early], wait_for_match=False)
    arrive(stores, early)
    assert in_force(stores) is None


def test_an_early_report_is_named_as_the_cause_once_it_is_stored(stores):
    id_, early = stored(stores), hard("unknown", ago(hours=1))
    stores.notifications.await_match(id_, [early], "not known yet", timedelta(0))
    assert in_force(stores).event_id is None
    stores.notifications.apply(id_, [early], wait_for_match=False)
    assert [(in_force(stores).event_id,)] == rows(stores, "SELECT id FROM events")


# Rules that changed


def test_a_replay_takes_up_a_rule_that_was_changed(stores):
    bounce = hard("m", ago(hours=1))
    arrive(stores, bounce)
    change(stores, "DELETE FROM suppressions")  # as if the old rule had not suppressed
    arrive(stores, bounce)
    assert reason_of(stores) is Reason.BOUNCE
    assert rows(stores, "SELECT count(*) FROM events") == [(1,)]


def test_events_of_a_release_that_did_not_count_are_counted_when_they_come_again(stores):
    arrive(stores, *five_strikes())
    change(stores, "DELETE FROM suppressions")
    change(stores, "UPDATE events SET blamed_key = NULL")
    arrive(stores, *five_strikes())
    assert reason_of(stores) is Reason.SOFT_BOUNCE


# What AWS does not count


def own(stores, *reports):
    (id_,) = accept(stores, JANE)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, f"ses-{id_}")
    arrive(stores, *(_of(claim, one) for one in reports))
    return id_


ECHO = hard("m-1", ago(hours=2), "OnAccountSuppressionList")


def test_the_echo_of_the_accounts_own_list_is_mirrored_and_counts_for_nobody(stores):
    id_ = own(stores, ECHO)
    assert reason_of(stores) is Reason.BOUNCE
    assert column(stores, id_, "status") == "BOUNCED"
    assert column(stores, id_, "counted_at") is None


def test_an_echoed_complaint_counts_for_nobody_either(stores):
    id_ = own(stores, complained("m", ago(hours=2), sub_type="OnAccountSuppressionList"))
    assert reason_of(stores) is Reason.COMPLAINT
    assert column(stores, id_, "counted_at") is None


def test_what_ses_has_on_its_global_list_counts_for_aws_counts_it(stores):
    assert column(stores, own(stores, listed("m", ago(hours=2))), "counted_at") is not None


@pytest.mark.parametrize(
    "others",
    [
        [hard("m-2", ago(hours=3))],
        [delivered("m-2", ago(hours=3))],
        [delivered("m-2", ago(hours=3)), complained("m-2", ago(hours=1))],
    ],
)
def test_a_recipient_that_was_also_attempted_counts_in_any_order(stores, others):
    for order in itertools.permutations([ECHO, *others]):
        id_ = own(stores, *order)
        assert column(stores, id_, "counted_at") is not None, order
        forget(stores)


def test_a_simulated_mailbox_never_counts(stores):
    (id_,) = accept(stores, "suppressionlist@simulator.amazonses.com")
    claim = begun(stores, id_)
    arrive(stores, _of(claim, delivered("m", ago(hours=1), address="suppressionlist@simulator.amazonses.com")))
    assert column(stores, id_, "counted_at") is None


def test_whom_everybody_mails_is_judged_by_the_newest_reports(stores):
    """However many there are, one more costs no more."""
    arrive(stores, *five_strikes())
    long_ago = now_micros() - span(timedelta(days=30))
    change(
        stores,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        " INSERT INTO events (dedupe_key, ses_message_id, kind, bounce_type, occurred_at, stored_at, blamed_key)"
        " SELECT 'k' || i, 'm' || i, 'Bounce', 'Transient', ? + i, ? + i, ? FROM n",
        long_ago,
        long_ago,
        JANE,
    )
    arrive(stores, soft("newest", ago(minutes=1)))
    assert in_force(stores).since == five_strikes()[4].occurred_at
