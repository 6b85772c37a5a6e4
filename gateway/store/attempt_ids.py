"""The id of an attempt: the claim's proof, the tag that SES hands back with every report, and the key of its row."""

from __future__ import annotations

import secrets
import time

_RANDOM_DIGITS = 20


def new_attempt_id() -> str:
    return new_attempt_ids(1)[0]


def new_attempt_ids(number: int) -> list[str]:
    """Of 32 hex digits each: the milliseconds since 1970, and 80 random bits that nobody guesses.

    Ids of one time are neighbours in the index, so that writing one beside ten million others changes a page that is at
    hand, and not another page from anywhere on the disk for each.
    """
    now = f"{time.time_ns() // 1_000_000:012x}"
    drawn = secrets.token_hex(_RANDOM_DIGITS // 2 * number)  # asking the system for each would cost more than the rest
    return [now + drawn[start : start + _RANDOM_DIGITS] for start in range(0, len(drawn), _RANDOM_DIGITS)]
