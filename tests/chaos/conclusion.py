"""How most scenarios end: wait until nothing is on its way, then judge, count and check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.chaos.book import Book, wait_for
from tests.chaos.checker import UNDER_WAY, Evidence, Verdict, judge
from tests.chaos.ledger import Answer, Ledger
from tests.chaos.scenario import Run


def copies_of(accepted: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many copies the simulated SES accepted for each recipient."""
    return Counter(str(address) for copy in accepted for address in copy["recipients"])


def settle(run: Run, book: Book, seconds: float, *, also: tuple[str, ...] = ()) -> float | None:
    """Wait until nothing is QUEUED or SENDING (`also`: nor in these statuses); it fails the run after `seconds`."""
    statuses = (*sorted(UNDER_WAY), *also)
    run.say(f"waiting until nothing is {', '.join(statuses)}")
    took = wait_for(lambda: not book.count(*statuses), seconds, every=0.25)
    left = "" if took is not None else str(dict(book.rows("SELECT status, count(*) FROM recipients GROUP BY status")))
    run.check(took is not None, f"nothing is on its way any more within {seconds:.0f} s; there is {left}")
    return took


def conclude(
    run: Run,
    ledger: Ledger,
    accepted: Iterable[Mapping[str, Any]],
    book: Book,
    *,
    ambiguous: Mapping[str, int] | None = None,
) -> Verdict:
    """Judge, keep the figures, and check all that the promise says. `ambiguous`: see Evidence."""
    answers, statuses = ledger.read(), book.statuses()
    verdict = judge(Evidence(answers, copies_of(accepted), statuses, ambiguous or {}))
    given = Counter(answers.values())
    run.figure("acknowledged", verdict.acknowledged)
    run.figure("sent", verdict.sent)
    run.figure("copies twice", verdict.copies_too_many)
    run.figure("lost", len(verdict.lost))
    run.figure("ambiguous at the end", sum(status == "AMBIGUOUS" for status in statuses.values()))
    for answer in (Answer.LATER, Answer.REFUSED, Answer.UNANSWERED, Answer.NOT_HANDED_IN):
        if given[answer]:
            run.figure(f"answered {answer}" if answer in (Answer.LATER, Answer.REFUSED) else str(answer), given[answer])
    run.check(bool(verdict.acknowledged), "mail was acknowledged at all")
    _check(run, "every acknowledged mail is sent, held or visibly failed", verdict.lost)
    _check(run, "no mail is sent more often than its outcome was made unknowable", verdict.doubled)
    _check(run, "nothing answered 4xx or 5xx is sent", verdict.sent_although_refused)
    _check(run, "nothing is sent that was never handed in", verdict.never_submitted)
    _check(run, "nothing is on its way at the end", verdict.under_way)
    return verdict


def _check(run: Run, sentence: str, broken_by: frozenset[str]) -> None:
    some = ", ".join(sorted(broken_by)[:5])
    run.check(not broken_by, f"{sentence}, but for {len(broken_by)}: {some}")
