from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.store.control import CIRCUIT, PAUSE
from gateway.store.group_sending import SMALL, Acceptance, padded
from gateway.store.suppression_rows import suppress
from gateway.store.times import now_micros
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.support.mail import CONTENT, accept, begun, change, claimed, column, lease_of, mark, rows, status
from tests.support.meeting import Held, waits_for_a_lock
from tests.support.waiting import until

NAMES = [f"{letter}@example.com" for letter in "abcdefg"]


def look(stores, *ids):
    return stores.group_sending.look(ids)


def seen(stores, *ids):
    """Marked, and what they look like."""
    mark(stores, *ids)
    return look(stores, *ids).candidates


def begin(stores, candidates):
    return stores.group_sending.begin(candidates).result(timeout=30)


def ids_of(candidates):
    return {candidate.claim.attempt_id for candidate in candidates}


def started(stores, *ids):
    candidates = seen(stores, *ids)
    assert begin(stores, candidates).attempt_ids == ids_of(candidates)
    return [candidate.claim for candidate in candidates]


def accepted(stores, *claims):
    found = [Acceptance(claim, f"ses-{claim.recipient_id}") for claim in claims]
    return stores.group_sending.accepted(found).result(timeout=30)


def everything(stores):
    return rows(
        stores,
        "SELECT id, status, reason, attempts, attempt_id IS NULL, dispatched_until IS NULL, claimed_until IS NULL,"
        " ended_at IS NULL, counted_at IS NULL FROM recipients ORDER BY id",
    )


# Looking


def test_a_look_gives_what_it_takes_to_send_and_claims_nothing(stores):
    stores.credentials.add("shop", actor="ann", tags=(("team", "shop"),), configuration_set="shop-set")
    first, second = *accept(stores, "a@example.com"), *accept(stores, "b@example.com", credential="shop")
    mark(stores, first, second)
    found = look(stores, first, second)
    assert [(one.claim.recipient_id, one.claim.address, one.content) for one in found.candidates] == [
        (first, "a@example.com", CONTENT),
        (second, "b@example.com", CONTENT),
    ]
    assert found.alone == []
    assert (found.candidates[1].claim.configuration_set, found.candidates[1].claim.tags) == (
        "shop-set",
        (("team", "shop"),),
    )
    assert len({one.claim.attempt_id for one in found.candidates}) == 2
    assert {status(stores, id_) for id_ in (first, second)} == {"QUEUED"}


def test_what_is_not_marked_any_more_or_not_there_is_left_out(stores):
    ids = accept(stores, *NAMES)
    mark(stores, *ids)
    change(stores, "UPDATE recipients SET dispatched_until = 1 WHERE id = ?", ids[0])
    change(stores, "UPDATE recipients SET dispatched_until = NULL WHERE id = ?", ids[1])
    change(stores, "UPDATE recipients SET status = 'HELD' WHERE id = ?", ids[2])
    found = look(stores, *ids, 0, -1, 999, 2**62, ids[3])
    assert [one.claim.recipient_id for one in found.candidates] == ids[3:]


def test_large_mail_and_mail_without_content_are_named_and_not_read(stores):
    plain, large, gone = (accept(stores)[0] for _ in range(3))
    mark(stores, plain, large, gone)
    change(
        stores,
        "UPDATE messages SET size = ? WHERE id = (SELECT message_id FROM recipients WHERE id = ?)",
        SMALL + 1,
        large,
    )
    change(stores, "DELETE FROM contents WHERE message_id = (SELECT message_id FROM recipients WHERE id = ?)", gone)
    found = look(stores, plain, large, gone)
    assert [one.claim.recipient_id for one in found.candidates] == [plain]
    assert found.alone == [large, gone]


@pytest.mark.parametrize(("count", "length"), [(0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (64, 64), (65, 128)])
def test_lists_are_padded_to_few_lengths(count, length):
    values = list(range(count))
    assert len(padded(values)) == length
    assert set(padded(values)) == set(values)


# Beginning


def test_a_group_is_claimed_and_its_attempts_are_written_down(stores):
    ids = accept(stores, *NAMES)
    claims = started(stores, *ids)
    one_by_one = accept(stores, "one@example.com")
    begun(stores, *one_by_one)
    assert len({row[1:] for row in everything(stores)}) == 1, "a group leaves the states that one leaves"
    assert rows(stores, "SELECT attempt_id, recipient_id, outcome, detail FROM attempts ORDER BY id LIMIT 7") == [
        (claim.attempt_id, claim.recipient_id, None, "") for claim in claims
    ]
    spans = rows(
        stores,
        "SELECT r.claimed_until - a.started_at FROM recipients r JOIN attempts a ON a.attempt_id = r.attempt_id",
    )
    assert {row[0] for row in spans} == {120_000_000}


def test_each_of_a_group_is_compared_and_set_for_itself(stores):
    ids = accept(stores, *NAMES)
    candidates = seen(stores, *ids)
    claimed(stores, ids[0])
    change(stores, "UPDATE recipients SET dispatched_until = 1 WHERE id = ?", ids[1])
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at + 60000000 WHERE id = ?", ids[2])
    change(stores, "DELETE FROM recipients WHERE id = ?", ids[3])
    change(stores, "UPDATE recipients SET status = 'CANCELLED' WHERE id = ?", ids[4])
    found = begin(stores, candidates)
    assert found.attempt_ids == ids_of(candidates[5:])
    assert found.alone == []
    assert [status(stores, id_) for id_ in ids if id_ != ids[3]] == [
        "SENDING",
        "QUEUED",
        "QUEUED",
        "CANCELLED",
        "SENDING",
        "SENDING",
    ]
    assert rows(stores, "SELECT count(*) FROM attempts") == [(2,)]


def test_a_group_that_is_begun_again_or_has_one_twice_begins_each_once(stores):
    ids = accept(stores, *NAMES)
    candidates = seen(stores, *ids)
    again = seen(stores, *ids)
    assert len(begin(stores, [*candidates, *again]).attempt_ids) == len(ids)
    assert begin(stores, candidates).attempt_ids == begin(stores, again).attempt_ids == frozenset()
    late = seen(stores, *accept(stores, "late@example.com"))
    assert begin(stores, [*candidates, *late, *again]).attempt_ids == ids_of(late)
    change(stores, "DELETE FROM attempts WHERE recipient_id > ?", ids[-1])
    assert rows(stores, "SELECT count(*) FROM attempts") == [(len(ids),)]


def test_of_many_groups_at_once_each_recipient_is_in_one(stores):
    ids = accept(stores, *(f"n{number}@example.com" for number in range(40)))
    mark(stores, *ids)
    groups = [look(stores, *order).candidates for order in (ids, ids[::-1], ids[10:30], ids) * 3]
    with ThreadPoolExecutor(len(groups)) as pool:
        found = list(pool.map(lambda group: begin(stores, group), groups))
    assert sum(len(one.attempt_ids) for one in found) == len(ids)
    assert rows(stores, "SELECT count(*), count(DISTINCT recipient_id) FROM attempts") == [(40, 40)]


@pytest.mark.parametrize("key", [PAUSE, CIRCUIT])
@pytest.mark.parametrize("lasting", [None, timedelta(hours=1)])
def test_a_group_is_left_alone_while_sending_is_stopped(stores, key, lasting):
    candidates = seen(stores, *accept(stores, *NAMES))
    before = everything(stores)
    stores.control.put(key, {}, lasting=lasting)
    assert begin(stores, candidates).attempt_ids == frozenset()
    assert everything(stores) == before
    stores.control.remove(key)
    assert len(begin(stores, candidates).attempt_ids) == len(candidates)


def test_where_the_circuits_time_is_over_a_group_begins_one(stores):
    """Marks may outlive the circuit. All of them would be refused together, or one after the other."""
    stores.suppressions.add(parse_mailbox(NAMES[3]), Reason.MANUAL, source="", detail="", actor="jane")
    candidates = seen(stores, *accept(stores, *NAMES))
    stores.control.put(CIRCUIT, {"reason": "paused"}, lasting=timedelta(seconds=-1))
    found = begin(stores, candidates)
    assert (found.attempt_ids, found.alone) == (ids_of(candidates[:1]), [])
    assert sorted(row[1] for row in everything(stores)) == ["QUEUED"] * (len(NAMES) - 1) + ["SENDING"]


def test_a_recipient_that_has_the_id_of_one_that_was_erased_does_not_get_its_mail(stores):
    (id_,) = accept(stores, "erased@example.com")
    candidates = seen(stores, id_)
    change(stores, "UPDATE recipients SET address = 'new@example.com', address_key = 'new@example.com'")
    assert begin(stores, candidates).attempt_ids == frozenset()
    assert status(stores, id_) == "QUEUED"


def test_the_suppressions_are_asked_when_whoever_had_the_recipient_in_hand_is_done(pair):
    ours, others = pair
    (id_,) = accept(ours, "a@example.com")
    candidates = seen(ours, id_)

    def take_in_hand_and_suppress(sql):
        sql.run("UPDATE recipients SET reason = 'in hand' WHERE id = ?", (id_,))
        suppress(sql, "a@example.com", "a@example.com", Reason.MANUAL, source="", detail="", at=now_micros())

    held = Held(others, take_in_hand_and_suppress)
    pending = ours.group_sending.begin(candidates)
    until(lambda: waits_for_a_lock(ours), what="the group waits for the recipient")
    held.let_go()
    found = pending.result(timeout=30)
    assert (found.attempt_ids, found.alone) == (frozenset(), [id_])


def test_of_a_group_what_belongs_to_a_credential_that_is_held_stays(stores):
    stores.credentials.add("careless", actor="ann")
    ids = [*accept(stores, "a@example.com"), *accept(stores, "b@example.com", credential="careless")]
    candidates = seen(stores, *ids)
    change(stores, "UPDATE credentials SET held_at = 1 WHERE name = 'careless'")
    assert begin(stores, candidates).attempt_ids == ids_of(candidates[:1])
    assert [status(stores, id_) for id_ in ids] == ["SENDING", "QUEUED"]


@pytest.mark.parametrize(
    ("subject", "scope"),
    [("B@Example.com", ""), ("B@example.com", "local"), ("@else.example", ""), ("@else.example", "local")],
)
def test_the_suppressions_are_asked_in_the_transaction_that_begins(stores, subject, scope):
    address = "bob@Else.example" if subject.startswith("@") else "b@example.com"
    ids = [*accept(stores, "a@example.com"), *accept(stores, address)]
    candidates = seen(stores, *ids)
    stores.suppressions.add(parse_subject(subject), Reason.MANUAL, source="", detail="", actor="jane", scope=scope)
    found = begin(stores, candidates)
    assert (found.attempt_ids, found.alone) == (ids_of(candidates[:1]), [ids[1]])
    assert [status(stores, id_) for id_ in ids] == ["SENDING", "QUEUED"]


def test_a_suppression_for_another_credential_is_none_of_the_groups_business(stores):
    stores.credentials.add("shop", actor="ann")
    candidates = seen(stores, *accept(stores, "a@example.com"))
    stores.suppressions.add(parse_mailbox("a@example.com"), Reason.MANUAL, source="", detail="", actor="", scope="shop")
    assert begin(stores, candidates).alone == []


def test_what_a_killed_worker_had_begun_together_becomes_ambiguous(stores):
    ids = accept(stores, *NAMES)
    started(stores, *ids[:4])
    seen(stores, *ids[4:])
    change(stores, "UPDATE recipients SET claimed_until = 1 WHERE status = 'SENDING'")
    assert stores.sweeping.sweep_lapsed(lease_of(stores)) == (0, 4)
    assert [status(stores, id_) for id_ in ids] == ["AMBIGUOUS"] * 4 + ["QUEUED"] * 3


# Recording


def test_a_group_of_acceptances_leaves_what_single_ones_leave(stores):
    *ids, single = accept(stores, *NAMES)
    accepted(stores, *started(stores, *ids))
    stores.sending.accepted(begun(stores, single), f"ses-{single}")
    assert len({row[1:] for row in everything(stores)}) == 1
    assert status(stores, ids[0]) == "SENT"
    assert rows(
        stores,
        "SELECT recipient_id, outcome, detail, ses_message_id FROM attempts WHERE finished_at IS NOT NULL ORDER BY id",
    ) == [(id_, "accepted", f"ses-{id_}", f"ses-{id_}") for id_ in (*ids, single)]
    tallies = rows(
        stores, "SELECT name, label, count FROM tallies WHERE name IN ('attempts', 'outcomes') ORDER BY name"
    )
    assert tallies == [("attempts", "accepted", 7), ("outcomes", "SENT", 7)]


def test_acceptances_that_are_recorded_again_change_nothing(stores):
    claims = started(stores, *accept(stores, *NAMES))
    accepted(stores, *claims)
    before = everything(stores)
    accepted(stores, *claims, *claims)
    assert everything(stores) == before
    assert rows(stores, "SELECT count FROM tallies WHERE name = 'attempts'") == [(len(claims),)]


def test_each_acceptance_of_a_group_meets_what_has_become_of_its_recipient(stores):
    ids = accept(stores, *NAMES)
    claims = started(stores, *ids)
    change(stores, "UPDATE recipients SET status = 'AMBIGUOUS' WHERE id = ?", ids[0])
    change(stores, "UPDATE recipients SET status = 'BOUNCED' WHERE id = ?", ids[1])
    change(stores, "DELETE FROM recipients WHERE id = ?", ids[2])
    change(stores, "UPDATE recipients SET status = 'QUEUED', claimed_until = NULL WHERE id = ?", ids[3])
    begun(stores, ids[3])
    accepted(stores, *claims)
    assert [status(stores, id_) for id_ in ids if id_ != ids[2]] == ["SENT", "BOUNCED", "SENT", "SENT", "SENT", "SENT"]
    assert rows(stores, "SELECT count(*) FROM attempts WHERE outcome = 'accepted'") == [(6,)]


def test_mail_to_the_simulator_is_not_counted_in_a_group_either(stores):
    ids = accept(stores, "a@example.com", "bounce@simulator.amazonses.com")
    accepted(stores, *started(stores, *ids))
    assert [column(stores, id_, "counted_at") is None for id_ in ids] == [False, True]


def test_the_probe_of_a_circuit_closes_it_in_a_group_too(stores):
    claims = started(stores, *accept(stores, "a@example.com", "b@example.com"))
    stores.control.put(CIRCUIT, {"reason": "x"}, lasting=timedelta(hours=1))
    assert accepted(stores, claims[0]) is False
    assert stores.control.get(CIRCUIT) is not None
    stores.control.put(CIRCUIT, {"reason": "x"}, lasting=timedelta(seconds=-1))
    assert accepted(stores, claims[1]) is True
    assert stores.control.get(CIRCUIT) is None


def test_nothing_that_was_recorded_closes_no_circuit(stores):
    (claim,) = started(stores, *accept(stores))
    stores.control.put(CIRCUIT, {"reason": "x"}, lasting=timedelta(seconds=-1))
    change(stores, "DELETE FROM recipients")
    assert accepted(stores, claim) is False
    assert stores.control.get(CIRCUIT) is not None
