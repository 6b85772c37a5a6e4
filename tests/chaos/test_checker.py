"""The checker sees each way in which the promise can be broken, and nothing where it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.checker import Evidence, judge
from tests.chaos.ledger import Answer, Ledger

ACKNOWLEDGED, LATER, REFUSED = Answer.ACKNOWLEDGED, Answer.LATER, Answer.REFUSED


@pytest.mark.parametrize(
    ("answer", "copies", "status", "ambiguous"),
    [
        (ACKNOWLEDGED, 1, "SENT", 0),
        (ACKNOWLEDGED, 1, "DELIVERED", 0),
        (ACKNOWLEDGED, 1, "AMBIGUOUS", 1),
        (ACKNOWLEDGED, 0, "AMBIGUOUS", 1),
        (ACKNOWLEDGED, 0, "HELD", 0),
        (ACKNOWLEDGED, 0, "FAILED", 0),
        (ACKNOWLEDGED, 0, "EXPIRED", 0),
        (ACKNOWLEDGED, 2, "SENT", 1),
        (LATER, 0, None, 0),
        (REFUSED, 0, None, 0),
        (Answer.UNANSWERED, 0, None, 0),
        (Answer.UNANSWERED, 1, "SENT", 0),
        (Answer.NOT_HANDED_IN, 0, None, 0),
    ],
)
def test_the_promise_is_kept(answer: Answer, copies: int, status: str | None, ambiguous: int) -> None:
    verdict = judge(Evidence({"a": answer}, {"a": copies}, {"a": status} if status else {}, {"a": ambiguous}))
    assert verdict.keeps_the_promise


@pytest.mark.parametrize(
    ("answer", "copies", "status", "ambiguous", "broken"),
    [
        (ACKNOWLEDGED, 0, None, 0, "lost"),
        (ACKNOWLEDGED, 0, "SENT", 0, "lost"),
        (ACKNOWLEDGED, 0, "DELIVERED", 0, "lost"),
        (ACKNOWLEDGED, 0, "QUEUED", 0, "under_way"),
        (ACKNOWLEDGED, 0, "SENDING", 0, "under_way"),
        (ACKNOWLEDGED, 2, "SENT", 0, "doubled"),
        (ACKNOWLEDGED, 3, "SENT", 1, "doubled"),
        (Answer.UNANSWERED, 2, "SENT", 0, "doubled"),
        (LATER, 1, "SENT", 0, "sent_although_refused"),
        (REFUSED, 1, "SENT", 0, "sent_although_refused"),
        (Answer.NOT_HANDED_IN, 1, "SENT", 0, "sent_although_refused"),
        (None, 1, "SENT", 0, "never_submitted"),
    ],
)
def test_a_broken_promise_is_seen(
    answer: Answer | None, copies: int, status: str | None, ambiguous: int, broken: str
) -> None:
    answers = {} if answer is None else {"a": answer}
    verdict = judge(Evidence(answers, {"a": copies}, {"a": status} if status else {}, {"a": ambiguous}))
    assert getattr(verdict, broken) == {"a"}
    assert not verdict.keeps_the_promise


def test_an_ambiguity_of_one_mail_excuses_no_other() -> None:
    verdict = judge(Evidence({"a": ACKNOWLEDGED, "b": ACKNOWLEDGED}, {"a": 1, "b": 2}, {}, {"a": 1}))
    assert verdict.doubled == {"b"}
    assert (verdict.acknowledged, verdict.sent, verdict.copies_too_many) == (2, 2, 1)


def test_a_ledger_knows_what_was_begun_by_a_client_that_is_gone(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        for mail in ("a", "b", "c"):
            ledger.begin(mail)
        ledger.end("a", ACKNOWLEDGED, "2.0.0 queued as\r\n 01ABC")
        ledger.end("b", LATER, "4.3.0 later")
    with Ledger(tmp_path / "ledger") as again:
        assert again.read() == {"a": ACKNOWLEDGED, "b": LATER, "c": Answer.UNANSWERED}
        assert again.replies(ACKNOWLEDGED) == {"a": "2.0.0 queued as 01ABC"}
