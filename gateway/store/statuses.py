"""Statuses as SQL conditions, spelled as the partial indexes of `recipients` spell them.

SQLite takes a partial index only where the statement repeats its condition word by word; PostgreSQL, once a statement
is prepared, only where the values stand in it as constants.
"""

from __future__ import annotations

from gateway.lifecycle import ENDED_BEFORE_SES, Status

UNFINISHED = f"'{Status.QUEUED}', '{Status.AMBIGUOUS}', '{Status.HELD}'"
UNSETTLED = f"'{Status.AMBIGUOUS}', '{Status.HELD}'"
ENDED = f"'{Status.SUPPRESSED}', '{Status.FAILED}', '{Status.EXPIRED}', '{Status.CANCELLED}'"


def in_status(status: Status, of: str = "") -> str:
    """True of the recipients in a status; `of` is what the table is called before a column, such as `r.`.

    No index has those that SES has: asking for them reads the whole table.
    """
    condition = f"{of}status = '{status}'"
    if status is Status.SENDING:
        return f"{condition} AND {of}claimed_until > 0"
    if status in (Status.QUEUED, Status.AMBIGUOUS, Status.HELD):
        return f"{of}status IN ({UNFINISHED}) AND {condition}"
    if status in ENDED_BEFORE_SES:
        return f"{of}status IN ({ENDED}) AND {condition}"
    return condition


def unsettled(status: Status, of: str = "") -> str:
    """Like `in_status` for what is in doubt or held, in the order in which it came there (`changed_at`)."""
    return f"{of}status IN ({UNSETTLED}) AND {of}status = '{status}'"
