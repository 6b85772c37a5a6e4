from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest

from gateway.store.errors import StoreError
from gateway.store.sorting import SortedEntries
from gateway.store.suppression_imports import Progress
from gateway.store.suppression_rows import suppress
from gateway.store.times import now_micros, to_micros
from gateway.subjects import entry_key, parse_subject
from gateway.suppression_files import Entry, Row
from gateway.suppression_policy import Reason
from tests.support.mail import rows

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=10)
LATER = SOON + timedelta(days=10)
PAST = BEGAN + timedelta(days=1)
NEVER = None
STATE = (
    "SELECT address_key, address, reason, source, detail, note, scope, since, expires_at FROM suppressions"
    " ORDER BY address_key"
)
HISTORY = (
    "SELECT address_key, address, scope, reason, ended_by, ended_why FROM suppression_history ORDER BY address_key, id"
)
LEFT = "SELECT (SELECT count(*) FROM suppression_import_rows), (SELECT count(*) FROM suppression_imports)"


def entry(address, reason=Reason.MANUAL, expires=NEVER, **fields):
    plain = {"scope": "", "source": "import", "detail": "asked", "note": "", "since": BEGAN}
    return Entry(address=address, reason=reason, expires=expires, **plain | fields)


def keyed(entries):
    with SortedEntries() as in_order:
        in_order.add(Row(n, entry_key(parse_subject(one.address).key, one.scope), one) for n, one in enumerate(entries))
        return list(in_order)


def staged(stores, entries, batch=1000, source="list.csv"):
    entries = keyed(entries)
    import_id = stores.imports.begin(source, "op")
    for place in range(0, len(entries), batch):
        stores.imports.stage(import_id, place + 1, entries[place : place + batch])
    return import_id, len(entries)


def ready(stores, entries, **fields):
    import_id, count = staged(stores, entries, **fields)
    stores.imports.make_ready(import_id, count)
    return import_id


def imported(stores, entries, limit=1000):
    """Carries a whole list out; how it ended."""
    import_id = ready(stores, entries)
    while not (progress := stores.imports.carry_out_one(import_id, limit)).is_done:
        pass
    return progress


def numbered(count, **fields):
    return [entry(f"a{n}@example.com", **fields) for n in range(count)]


def add(stores, one, *, forced=False):
    """As everything else suppresses; `forced`: also what has expired."""
    subject = parse_subject(one.address)
    ends = None if one.expires is None else to_micros(one.expires)

    def work(sql):
        suppress(
            sql,
            subject.address,
            subject.key,
            one.reason,
            source=one.source,
            detail=one.detail,
            at=to_micros(one.since),
            scope=one.scope,
            note=one.note,
            expires_at=None if forced else ends,
        )
        if forced:
            key = entry_key(subject.key, one.scope)
            sql.run("UPDATE suppressions SET expires_at = ? WHERE address_key = ?", (ends, key))

    stores.db.write(work)


def tallies(stores):
    return {(name, reason): count for name, reason, count in rows(stores, "SELECT name, label, count FROM tallies")}


def gauge(stores):
    """What monitors read as the number of suppressions, by reason."""
    counts = {}
    for (name, reason), count in tallies(stores).items():
        sign = {"suppressions_begun": 1, "suppressions_ended": -1}[name]
        counts[reason] = counts.get(reason, 0) + sign * count
    return {reason: count for reason, count in counts.items() if count}


def standing(stores):
    return dict(rows(stores, "SELECT reason, count(*) FROM suppressions GROUP BY reason"))


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_a_list_is_carried_out_in_batches_and_leaves_no_log(stores, limit):
    progress = imported(stores, [*numbered(20), entry("@Example.org", Reason.BOUNCE, LATER, scope="shop")], limit)
    assert progress == Progress(rows=21, carried=21, added=21, changed=0)
    assert len(rows(stores, STATE)) == 21
    assert rows(stores, STATE)[0] == (
        *("@example.org/shop", "@Example.org", "bounce", "import", "asked", "", "shop"),
        *(to_micros(BEGAN), to_micros(LATER)),
    )
    assert rows(stores, "SELECT DISTINCT actor, event_id FROM suppressions") == [("op", None)]
    assert rows(stores, "SELECT count(*) FROM suppression_import_rows") == [(0,)]
    assert gauge(stores) == standing(stores) == {"manual": 20, "bounce": 1}


def test_nothing_happens_before_a_list_is_ready(stores):
    import_id, _ = staged(stores, numbered(5))
    assert stores.imports.carry_out(left_after=timedelta(0)) == 0
    with pytest.raises(StoreError, match="not stored any more"):
        stores.imports.carry_out_one(import_id)
    assert rows(stores, STATE) == rows(stores, "SELECT 1 FROM audit") == []


def test_what_was_left_is_carried_out_by_whoever_is_there(stores):
    ready(stores, numbered(5))
    ready(stores, numbered(8))
    assert stores.imports.carry_out(3) == 0  # whoever read it may be at it
    assert [stores.imports.carry_out(3, timedelta(0)) for _ in range(6)] == [3, 2, 3, 3, 2, 0]
    assert len(rows(stores, STATE)) == 8


def test_one_row_of_the_trail_says_what_an_import_did(stores):
    add(stores, entry("a1@example.com"))
    add(stores, entry("a2@example.com", Reason.BOUNCE))
    import_id = ready(stores, numbered(5))
    assert rows(stores, "SELECT actor, action, subject, detail FROM audit") == [
        ("op", "suppressions.import", "list.csv", "5 entries, not carried out yet")
    ]
    while not stores.imports.carry_out_one(import_id, 2).is_done:
        pass
    assert rows(stores, "SELECT detail FROM audit") == [("5 entries: 3 new, 1 changed, 1 were there already",)]


ENDS = (PAST, SOON, LATER, NEVER)
SOME_REASONS = (Reason.BOUNCE, Reason.MANUAL, Reason.COMPLAINT)


def test_an_import_does_what_each_of_its_rows_would_have_done_alone(stores):
    """Every pair of an entry that stands and one that comes, against the one place that says what then happens."""
    cases = list(itertools.product(SOME_REASONS, ENDS, SOME_REASONS, ENDS, ("", "shop")))

    def address(number, kind):
        return f"{kind}{number}@example.com"

    def listed(kind):
        return [
            entry(address(n, kind), new, ends, scope=scope, note="new", detail="new")
            for n, (_, _, new, ends, scope) in enumerate(cases)
        ]

    for kind in ("alone", "file"):
        for n, (old, ends, _, _, scope) in enumerate(cases):
            add(stores, entry(address(n, kind), old, ends, scope=scope, note="old"), forced=True)
    for one in listed("alone"):
        add(stores, one)
    progress = imported(stores, listed("file"), limit=100)

    def outcome(statement, kind):
        found = [row for row in rows(stores, statement) if row[0].startswith(kind)]
        return [tuple(str(value).replace(kind, "") for value in row) for row in found]

    assert outcome(STATE, "file") == outcome(STATE, "alone")
    assert outcome(HISTORY, "file") == outcome(HISTORY, "alone")
    assert gauge(stores) == standing(stores)
    assert progress.added == 0
    assert 0 < progress.changed < len(cases)
    assert imported(stores, listed("file")).known == len(cases)  # and again changes nothing
    assert outcome(STATE, "file") == outcome(STATE, "alone")


def test_of_an_address_that_is_listed_twice_the_strongest_reason_counts(stores):
    listed = [
        entry("a@example.com", Reason.BOUNCE),
        entry("A@Example.com", Reason.COMPLAINT, SOON),
        entry("a@example.com", Reason.COMPLAINT, LATER),
        entry("a@example.com", Reason.COMPLAINT, SOON),
        entry("a@example.com", Reason.BOUNCE, scope="shop"),
        entry("b@example.com", Reason.MANUAL, LATER, note="first"),
        entry("b@example.com", Reason.MANUAL, LATER, note="second"),
    ]
    assert imported(stores, listed).added == 3
    assert rows(stores, "SELECT address_key, reason, expires_at, note FROM suppressions ORDER BY address_key") == [
        ("a@example.com", "complaint", to_micros(LATER), ""),
        ("a@example.com/shop", "bounce", None, ""),
        ("b@example.com", "manual", to_micros(LATER), "first"),
    ]
    assert {tuple(map(str, one)) for one in itertools.chain(*map(keyed, itertools.permutations(listed[:5])))} == {
        tuple(map(str, one)) for one in keyed(listed[:5])
    }


def test_what_has_expired_before_its_turn_is_left_out(stores):
    assert imported(stores, [entry("a@example.com", expires=PAST), entry("b@example.com")]).added == 1
    assert [row[0] for row in rows(stores, STATE)] == ["b@example.com"]


def test_two_imports_at_once_end_as_one_after_the_other(stores):
    first = ready(stores, numbered(60, reason=Reason.BOUNCE))
    second = ready(stores, [*numbered(40, reason=Reason.COMPLAINT), entry("z@example.com")])
    failures = []

    def carry(import_id, limit):
        try:
            while not stores.imports.carry_out_one(import_id, limit).is_done:
                pass
        except Exception as error:  # noqa: BLE001  the test looks at it
            failures.append(error)

    threads = [threading.Thread(target=carry, args=job) for job in ((first, 7), (second, 5), (first, 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert standing(stores) == gauge(stores) == {"bounce": 20, "complaint": 40, "manual": 1}
    assert rows(stores, "SELECT count(*) FROM suppression_import_rows") == [(0,)]


def test_what_never_got_ready_and_what_is_done_is_forgotten_after_a_day(stores):
    import_id, count = staged(stores, numbered(5))
    imported(stores, numbered(2))
    waiting = ready(stores, numbered(3))
    assert stores.imports.clear() == 0
    age(stores)
    while stores.imports.clear(limit=2):
        pass
    stores.imports.clear()
    assert rows(stores, LEFT) == [(3, 1)]
    with pytest.raises(StoreError, match="import it again"):
        stores.imports.make_ready(import_id, count)
    assert stores.imports.carry_out_one(waiting).known == 2


def test_what_is_being_cleared_away_cannot_become_ready(stores):
    import_id, count = staged(stores, numbered(5))
    age(stores)
    assert stores.imports.clear(limit=2) == 2
    with pytest.raises(StoreError, match="import it again"):
        stores.imports.make_ready(import_id, count)


def test_a_list_that_is_given_up_leaves_nothing(stores):
    import_id, _ = staged(stores, numbered(5))
    stores.imports.discard(import_id)
    assert rows(stores, LEFT) == [(0, 0)]
    import_id = ready(stores, numbered(5))
    stores.imports.discard(import_id)
    assert rows(stores, LEFT) == [(5, 1)]


def age(stores, days=2):
    """As if so long had gone by since."""
    span = days * 86_400_000_000
    stores.db.write(
        lambda sql: sql.run(
            "UPDATE suppression_imports SET started_at = started_at - ?, carried_at = carried_at - ?", (span, span)
        )
    )
    assert now_micros() > span
