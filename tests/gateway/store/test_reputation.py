from __future__ import annotations

import pytest

from gateway.feedback import EventKind
from gateway.reputation import Limits, Rates
from gateway.store.control import LeaseLostError
from gateway.store.errors import StoreError
from gateway.store.reputation import Reputation
from gateway.store.times import now_micros
from tests.gateway.store.test_notifications import apply, bounce, complaint, feedback
from tests.support.mail import accept, begun, change, claimed, lease_of, mark, rows, status

DAY = 86_400_000_000
LIMITS = Limits(bounce_rate=0.1, complaint_rate=0.1, min_sends=50)


def reputation(stores, limits=LIMITS):
    return Reputation(stores.db, limits)


def sent(stores, number, *, credential="local", domain="example.com"):
    """That many recipients that SES has taken, written down at once: the way there is tested elsewhere."""
    ids = accept(stores, *(f"n{index}@{domain}" for index in range(number)), credential=credential)
    counted = None if "simulator" in domain else now_micros()
    for id_ in ids:
        change(stores, "UPDATE recipients SET status = 'DELIVERED', counted_at = ? WHERE id = ?", counted, id_)
    return ids


def blamed(stores, ids, status_="BOUNCED"):
    for id_ in ids:
        change(stores, "UPDATE recipients SET status = ? WHERE id = ?", status_, id_)


def shop(stores):
    change(stores, "INSERT INTO credentials (name, created_at) VALUES ('shop', 1)")


def standing(stores, credential, limits=LIMITS):
    return next(one for one in reputation(stores, limits).standings() if one.credential == credential)


def test_what_ses_took_counts_once_and_the_simulator_never(stores):
    real, simulated = accept(stores, "a@example.com", "bounce@simulator.amazonses.com")
    for id_ in (real, simulated):
        claim = begun(stores, id_)
        stores.sending.accepted(claim, f"ses-{id_}")
        apply(stores, feedback(EventKind.SEND, claim.attempt_id, ses_message_id=f"ses-{id_}"))
        apply(stores, bounce(claim.attempt_id, ses_message_id=f"ses-{id_}"))
    assert standing(stores, "local").day == Rates(1, 1, 0)
    assert standing(stores, None).last == Rates(1, 1, 0)


def test_a_complaint_counts_and_what_is_none_does_not(stores):
    for number, kind in enumerate(("abuse", "not-spam")):
        (id_,) = accept(stores, f"n{number}@example.com")
        claim = begun(stores, id_)
        stores.sending.accepted(claim, f"ses-{number}")
        apply(stores, complaint(claim.attempt_id, ses_message_id=f"ses-{number}", complaint_type=kind))
    assert standing(stores, "local").day == Rates(2, 0, 1)


def test_a_mail_that_only_an_event_proves_counts_too(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.ambiguous(claim, "no answer")
    assert standing(stores, "local").day == Rates(0, 0, 0)
    apply(stores, bounce(claim.attempt_id))
    assert standing(stores, "local").day == Rates(1, 1, 0)


def test_the_day_forgets_and_the_last_thousand_do_not(stores):
    ids = sent(stores, 60)
    blamed(stores, ids[:6])
    change(stores, "UPDATE recipients SET counted_at = counted_at - ?", DAY)
    assert standing(stores, "local").day == Rates(0, 0, 0)
    assert standing(stores, "local").last == Rates(60, 6, 0)


def test_each_credential_is_judged_by_its_own_mail(stores):
    shop(stores)
    sent(stores, 100)
    blamed(stores, sent(stores, 60, credential="shop")[:7])
    held = reputation(stores).judge(lease_of(stores))
    assert [name for name, _ in held] == ["shop"]
    assert "7 of 60 mails of 24 hours bounced: 11.67% (the limit is 10.00%)" in held[0][1]
    assert standing(stores, None).day == Rates(160, 7, 0)
    assert reputation(stores).judge(lease_of(stores)) == []


@pytest.mark.parametrize(("sends", "bounces"), [(49, 49), (50, 5), (60, 4)])
def test_too_little_to_judge(stores, sends, bounces):
    blamed(stores, sent(stores, sends)[:bounces])
    assert reputation(stores).judge(lease_of(stores)) == []


def test_simulated_bounces_hold_nobody(stores):
    blamed(stores, sent(stores, 60, domain="simulator.amazonses.com"))
    assert reputation(stores).judge(lease_of(stores)) == []


def test_nothing_of_a_held_credential_is_sent_and_others_go_on(stores):
    shop(stores)
    (of_shop,) = accept(stores, credential="shop")
    (marked,) = accept(stores, credential="shop")
    taken = accept(stores, credential="shop")[0]
    claim = claimed(stores, taken)
    (other,) = accept(stores)
    mark(stores, marked)
    assert reputation(stores).hold("shop", "new templates", actor="ann")
    assert [one.recipient_id for one in stores.sending.mark_due(lease_of(stores), 10)] == [other]
    assert stores.sending.claim(marked) is None
    assert stores.sending.begin_attempt(claim) is False
    assert {status(stores, id_) for id_ in (of_shop, marked, taken)} == {"QUEUED"}
    assert standing(stores, "shop").queued == 3
    found = standing(stores, "shop")
    assert (found.held_reason, found.held_by) == ("new templates", "ann")


def test_a_released_credential_is_judged_anew(stores):
    blamed(stores, sent(stores, 60)[:30])
    reputation(stores).judge(lease_of(stores))
    assert reputation(stores).release("local", actor="ann")
    assert not reputation(stores).release("local", actor="ann")
    assert reputation(stores).judge(lease_of(stores)) == []
    assert standing(stores, "local").day == Rates(0, 0, 0)
    assert standing(stores, None).day == Rates(60, 30, 0)
    blamed(stores, sent(stores, 60)[:30])
    assert len(reputation(stores).judge(lease_of(stores))) == 1


def test_holding_and_releasing_are_audited_once(stores):
    assert reputation(stores).hold("local", "checked", actor="ann")
    assert not reputation(stores).hold("local", "again", actor="bob")
    reputation(stores).release("local", actor="ann")
    assert rows(stores, "SELECT actor, action, subject, detail FROM audit ORDER BY id") == [
        ("ann", "credential.hold", "local", "checked"),
        ("ann", "credential.release", "local", "was held: checked"),
    ]


def test_a_credential_that_is_not_there(stores):
    with pytest.raises(StoreError, match="no credential 'nobody'"):
        reputation(stores).hold("nobody", "", actor="ann")
    with pytest.raises(StoreError, match="no credential 'nobody'"):
        reputation(stores).release("nobody", actor="ann")


def test_a_dispatcher_without_the_lease_holds_nobody(stores):
    blamed(stores, sent(stores, 60))
    stale = lease_of(stores)
    lease_of(stores, "another")
    with pytest.raises(LeaseLostError):
        reputation(stores).judge(stale)
    assert standing(stores, "local").held_at is None


def test_what_a_fast_clock_has_dated_ahead_does_not_hold_a_released_credential_again(stores):
    ids = sent(stores, 60)
    blamed(stores, ids[:30])
    change(stores, "UPDATE recipients SET counted_at = counted_at + ?", DAY)
    reputation(stores).hold("local", "by hand", actor="ann")
    reputation(stores).release("local", actor="ann")
    assert reputation(stores).judge(lease_of(stores)) == []
