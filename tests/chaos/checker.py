"""The promise, checked: the clients' ledger against the oracle's copies and what the installation says of itself.

Pure: it is given everything, and decides. A mail is known by its recipient's address, which no other mail has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos.ledger import Answer

HELD = frozenset({"HELD", "AMBIGUOUS"})
"""Set aside where a person sees it: nothing is sent, and nothing is forgotten."""
ENDED = frozenset({"FAILED", "EXPIRED", "SUPPRESSED", "CANCELLED", "REJECTED"})
"""Not sent, and that is visible with its reason."""
UNDER_WAY = frozenset({"QUEUED", "SENDING"})


@dataclass(frozen=True)
class Evidence:
    """What is known at the end. `copies` are those that SES accepted; `status` what the database says of each.

    `ambiguous`: how often the outcome of a call for this mail was made unknowable; each may cost one copy more.
    """

    answers: Mapping[str, Answer]
    copies: Mapping[str, int]
    status: Mapping[str, str]
    ambiguous: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Each a set of mails that break the promise, but for the last three, which are counts to report."""

    lost: frozenset[str]
    doubled: frozenset[str]
    sent_although_refused: frozenset[str]
    never_submitted: frozenset[str]
    under_way: frozenset[str]
    acknowledged: int
    sent: int
    copies_too_many: int

    @property
    def keeps_the_promise(self) -> bool:
        broken = self.lost | self.doubled | self.sent_although_refused | self.never_submitted | self.under_way
        return not broken


def judge(evidence: Evidence) -> Verdict:
    """What is acknowledged is sent, held or visibly failed; copies - 1 ≤ ambiguities; refused mail is never sent."""
    copies = Counter(evidence.copies)
    acknowledged = {mail for mail, answer in evidence.answers.items() if answer is Answer.ACKNOWLEDGED}
    not_taken = {
        mail
        for mail, answer in evidence.answers.items()
        if answer in (Answer.LATER, Answer.REFUSED, Answer.NOT_HANDED_IN)
    }
    return Verdict(
        lost=frozenset(mail for mail in acknowledged if not copies[mail] and not _is_visible(evidence, mail)),
        doubled=frozenset(mail for mail in copies if copies[mail] - 1 > evidence.ambiguous.get(mail, 0)),
        sent_although_refused=frozenset(mail for mail in not_taken if copies[mail]),
        never_submitted=frozenset(mail for mail in copies if mail not in evidence.answers),
        under_way=frozenset(mail for mail, status in evidence.status.items() if status in UNDER_WAY),
        acknowledged=len(acknowledged),
        sent=sum(1 for mail in copies if copies[mail]),
        copies_too_many=sum(number - 1 for number in copies.values() if number > 1),
    )


def _is_visible(evidence: Evidence, mail: str) -> bool:
    """Whether the database has it, and says that it was not sent. SENT without a copy would be a lie, and a loss."""
    return evidence.status.get(mail) in HELD | ENDED | UNDER_WAY
