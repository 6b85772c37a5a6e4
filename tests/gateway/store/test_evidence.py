"""A report of SES with our attempt id proves that SES has the mail: it settles the recipient, and nothing is resent.

In every status x kind of event, with and without a result of the worker, before and after it. A table is one test: its
cells share a database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count, product

import pytest

from gateway.feedback import BounceType, EventKind, Feedback
from gateway.lifecycle import AFTER_SES, Status
from gateway.store.notifications import NewNotification
from gateway.store.sending import Claim
from gateway.store.stores import Stores
from tests.support.mail import accept, begun, change, claimed, lease_of, mark, rows, status

AT = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
_numbers = count()

BECOMES = {
    EventKind.SEND: "SENT",
    EventKind.DELIVERY: "DELIVERED",
    EventKind.BOUNCE: "BOUNCED",
    EventKind.COMPLAINT: "COMPLAINED",
    EventKind.DELIVERY_DELAY: "DELAYED",
    EventKind.REJECT: "REJECTED",
    EventKind.OPEN: "SENT",
    EventKind.CLICK: "SENT",
    EventKind.SUBSCRIPTION: "SENT",
    EventKind.RENDERING_FAILURE: "REJECTED",
}
SETTLING = [EventKind.SEND, EventKind.DELIVERY, EventKind.BOUNCE, EventKind.COMPLAINT]
NOT_WITH_SES = [status for status in Status if status not in AFTER_SES]


def report(attempt_id: str | None, kind: EventKind, **fields: object) -> Feedback:
    number = next(_numbers)
    members: dict[str, object] = {"ses_message_id": f"ses-{number}"}
    if kind in (EventKind.BOUNCE, EventKind.COMPLAINT):
        members |= {"feedback_id": f"f-{number}", "address": "mailbox@elsewhere.example"}
    if kind is EventKind.BOUNCE:
        members["bounce_type"] = BounceType.PERMANENT
    return Feedback(kind=kind, attempt_id=attempt_id, occurred_at=AT, **members | fields)  # type: ignore[arg-type]  # a table's row


def arrives(stores: Stores, *reports: Feedback) -> None:
    stored = stores.notifications.store(NewNotification(f"sns-{next(_numbers)}", "arn:aws:sns:us-east-1:1:t", "{}", AT))
    assert stored is not None
    stores.notifications.apply(stored, reports, wait_for_match=True)


def nothing_can_be_sent(stores: Stores) -> bool:
    """No recipient is marked, and none is claimed even with a mark."""
    change(stores, "UPDATE recipients SET next_attempt_at = 1")
    if stores.sending.mark_due(lease_of(stores), 1000):
        return False
    ids = [row[0] for row in rows(stores, "SELECT id FROM recipients")]
    mark(stores, *ids)
    return all(stores.sending.claim(id_) is None for id_ in ids)


def statuses(stores: Stores, cells: Mapping[int, tuple[object, ...]]) -> dict[tuple[object, ...], str]:
    """What the recipient of each cell of a table has become."""
    return {cell: status(stores, id_) for id_, cell in cells.items()}


def tried(stores: Stores, status: Status) -> Claim:
    """A recipient in that status whose attempt was written down; the claim it was made with."""
    (id_,) = accept(stores, f"recipient{next(_numbers)}@example.com")
    claim = begun(stores, id_)
    change(stores, "UPDATE recipients SET status = ?, next_attempt_at = 1 WHERE id = ?", status.value, id_)
    return claim


def tried_again(stores: Stores) -> tuple[Claim, int]:
    """The claim of an earlier attempt whose recipient is due again, and its id."""
    early = tried(stores, Status.QUEUED)
    change(stores, "UPDATE recipients SET claimed_until = NULL WHERE id = ?", early.recipient_id)
    return early, early.recipient_id


def test_a_report_settles_its_recipient_in_every_status(stores: Stores) -> None:
    cells = {}
    for before, kind in product(NOT_WITH_SES, BECOMES):
        claim = tried(stores, before)
        arrives(stores, report(claim.attempt_id, kind))
        cells[claim.recipient_id] = (before, kind)
    assert statuses(stores, cells) == {(before, kind): BECOMES[kind] for before, kind in cells.values()}
    assert nothing_can_be_sent(stores)


def test_a_complaint_that_is_none_is_evidence_all_the_same(stores: Stores) -> None:
    cells = {}
    for before in NOT_WITH_SES:
        claim = tried(stores, before)
        arrives(stores, report(claim.attempt_id, EventKind.COMPLAINT, complaint_type="not-spam"))
        cells[claim.recipient_id] = (before,)
    assert set(statuses(stores, cells).values()) == {"SENT"}
    assert stores.suppressions.list() == []


def test_what_proves_no_more_than_is_known_changes_nothing(stores: Stores) -> None:
    claim = tried(stores, Status.DELIVERED)
    for kind in (EventKind.OPEN, EventKind.CLICK, EventKind.SUBSCRIPTION):
        arrives(stores, report(claim.attempt_id, kind))
        assert status(stores, claim.recipient_id) == "DELIVERED"


def test_a_mail_that_ses_could_not_render_is_rejected(stores: Stores) -> None:
    claim = tried(stores, Status.AMBIGUOUS)
    arrives(stores, report(claim.attempt_id, EventKind.RENDERING_FAILURE))
    assert status(stores, claim.recipient_id) == "REJECTED"


def test_an_attempt_that_is_not_ours_settles_nobody(stores: Stores) -> None:
    cells = {}
    for before, kind in product(NOT_WITH_SES, SETTLING):
        (id_,) = accept(stores)
        change(stores, "UPDATE recipients SET status = ? WHERE id = ?", before.value, id_)
        arrives(stores, report("f" * 32, kind, address="a@example.com"))
        cells[id_] = (before, kind)
    assert statuses(stores, cells) == {(before, kind): before.value for before, kind in cells.values()}


Result = Callable[[Stores, Claim], None]
RESULTS: dict[str, Result] = {
    "accepted": lambda stores, claim: stores.sending.accepted(claim, "ses-of-the-answer"),
    "refused": lambda stores, claim: stores.sending.refused(claim, "MessageRejected"),
    "ambiguous": lambda stores, claim: stores.sending.ambiguous(claim, "ReadTimeoutError"),
    "released": lambda stores, claim: stores.sending.released(claim, "503", wait=timedelta(0)),
    "parked": lambda stores, claim: stores.sending.parked(claim, "NewException"),
}


def test_a_result_that_comes_after_the_report_changes_nothing(stores: Stores) -> None:
    kept = "SELECT status, reason, ended_at, changed_at FROM recipients WHERE id = ?"
    for kind, result in product(SETTLING, RESULTS):
        claim = tried(stores, Status.SENDING)
        arrives(stores, report(claim.attempt_id, kind))
        proved = rows(stores, kept, claim.recipient_id)
        assert proved[0][0] == BECOMES[kind]
        RESULTS[result](stores, claim)
        assert rows(stores, kept, claim.recipient_id) == proved, (kind, result)
    assert nothing_can_be_sent(stores)


def test_a_report_that_comes_after_the_result_settles_it(stores: Stores) -> None:
    cells = {}
    for kind, result in product(SETTLING, RESULTS):
        claim = tried(stores, Status.SENDING)
        RESULTS[result](stores, claim)
        arrives(stores, report(claim.attempt_id, kind))
        cells[claim.recipient_id] = (kind, result)
    assert statuses(stores, cells) == {(kind, result): BECOMES[kind] for kind, result in product(SETTLING, RESULTS)}
    assert nothing_can_be_sent(stores)


@pytest.mark.parametrize("kind", SETTLING)
def test_a_report_of_an_earlier_attempt_stops_what_is_only_marked(stores: Stores, kind: EventKind) -> None:
    early, id_ = tried_again(stores)
    mark(stores, id_)
    arrives(stores, report(early.attempt_id, kind))
    assert stores.sending.claim(id_) is None
    assert status(stores, id_) == BECOMES[kind]


@pytest.mark.parametrize("kind", SETTLING)
def test_a_report_between_the_claim_and_the_attempt_prevents_the_second_copy(stores: Stores, kind: EventKind) -> None:
    early, id_ = tried_again(stores)
    claim = claimed(stores, id_)
    arrives(stores, report(early.attempt_id, kind))
    assert stores.sending.begin_attempt(claim) is False
    assert status(stores, id_) == BECOMES[kind]
    assert rows(stores, "SELECT count(*) FROM attempts") == [(1,)]
    # Nor does what the worker says of the claim that it gave up.
    stores.sending.released(claim, "it stopped", wait=timedelta(0))
    stores.sending.ambiguous(claim, "it stopped")
    assert status(stores, id_) == BECOMES[kind]


def test_a_report_of_an_earlier_attempt_counts_while_a_later_one_runs(stores: Stores) -> None:
    for kind, result in product(SETTLING, RESULTS):
        early, id_ = tried_again(stores)
        later = begun(stores, id_)
        arrives(stores, report(early.attempt_id, kind))
        assert status(stores, id_) == BECOMES[kind]
        RESULTS[result](stores, later)
        assert status(stores, id_) == BECOMES[kind], (kind, result)
    assert nothing_can_be_sent(stores)


@pytest.mark.parametrize("begin", [claimed, begun])
def test_a_claim_that_a_report_settled_does_not_lapse_into_the_queue(
    stores: Stores, begin: Callable[[Stores, int], Claim]
) -> None:
    early, id_ = tried_again(stores)
    begin(stores, id_)
    arrives(stores, report(early.attempt_id, EventKind.SEND))
    change(stores, "UPDATE recipients SET claimed_until = 1")
    assert stores.sweeping.sweep_lapsed(lease_of(stores)) == (0, 0)
    assert status(stores, id_) == "SENT"


def test_what_has_expired_meanwhile_is_revised(stores: Stores) -> None:
    claims = {kind: tried(stores, Status.AMBIGUOUS) for kind in SETTLING}
    change(stores, "UPDATE recipients SET expires_at = 1")
    assert stores.sweeping.expire(lease_of(stores)) == len(SETTLING)
    for kind, claim in claims.items():
        arrives(stores, report(claim.attempt_id, kind))
        assert status(stores, claim.recipient_id) == BECOMES[kind]


def test_the_attempt_decides_who_is_blamed_and_the_reported_address_does_not(stores: Stores) -> None:
    first, second = accept(stores, "first@example.com", "second@example.com")
    claim = begun(stores, first)
    arrives(stores, report(claim.attempt_id, EventKind.BOUNCE, address="second@example.com"))
    assert [found.address for found in stores.suppressions.list()] == ["first@example.com"]
    assert (status(stores, first), status(stores, second)) == ("BOUNCED", "QUEUED")
