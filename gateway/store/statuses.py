"""Statuses as SQL conditions, spelled as the partial indexes of `recipients` spell them.

SQLite takes a partial index only where the statement repeats its condition word by word; PostgreSQL, once a statement
is prepared, only where the values stand in it as constants.
"""

from __future__ import annotations

from gateway.lifecycle import ENDED_BEFORE_SES, Status

UNFINISHED = f"'{Status.QUEUED}', '{Status.AMBIGUOUS}', '{Status.HELD}'"
ENDED = f"'{Status.SUPPRESSED}', '{Status.FAILED}', '{Status.EXPIRED}', '{Status.CANCELLED}'"
CLAIMED = f"status = '{Status.SENDING}' AND claimed_until > 0"


def in_status(status: Status) -> str:
    """True of the recipients in a status. No index has those that SES has: asking for them reads the whole table."""
    if status is Status.SENDING:
        return CLAIMED
    if status in (Status.QUEUED, Status.AMBIGUOUS, Status.HELD):
        return f"status IN ({UNFINISHED}) AND status = '{status}'"
    if status in ENDED_BEFORE_SES:
        return f"status IN ({ENDED}) AND status = '{status}'"
    return f"status = '{status}'"
