from __future__ import annotations

import pytest

from gateway.findings import Ledger, Level, failed, ok, skipped, warning


def never():
    raise AssertionError("this was not to be looked at")


def ledger(*findings, known=()):
    made = Ledger(known=known)
    made.add(*findings)
    return made


@pytest.mark.parametrize(
    ("findings", "missing"),
    [
        ([], None),
        ([ok("a", "fine")], None),
        ([warning("a", "odd", "mend it")], None),
        ([failed("a", "broken", "mend it")], "a"),
        ([skipped("a", "offline")], "a"),
        ([skipped("a", "needs b")], "b"),
        ([failed("other", "broken", "mend it")], None),
    ],
)
def test_what_is_missing_is_named_by_its_cause(findings, missing):
    assert ledger(*findings).missing(["a"]) == missing
    assert ledger(known=findings).missing(["a"]) == missing


def test_what_failed_is_named_before_what_was_skipped():
    assert ledger(skipped("a", "offline"), failed("b", "broken", "")).missing(["a", "b"]) == "b"


def test_what_stands_on_something_broken_is_not_looked_at():
    made = ledger(failed("a", "broken", "mend it"))
    made.check("b", never, needs=["a"])
    made.check("c", never, needs=["b"])
    assert [(one.check, one.level, one.seen) for one in made.findings[1:]] == [
        ("b", Level.SKIPPED, "needs a"),
        ("c", Level.SKIPPED, "needs a"),
    ]


def test_a_look_gives_one_finding_or_several_and_each_is_told():
    told = []
    made = Ledger(told.append)
    made.check("a", lambda: ok("a", "fine"))
    made.check("b", lambda: [ok("b", "fine"), ok("c", "fine")])
    assert [one.check for one in told] == ["a", "b", "c"]
    assert tuple(told) == made.findings


def test_what_is_known_from_others_is_not_told_again():
    assert ledger(known=[ok("a", "fine")]).findings == ()
