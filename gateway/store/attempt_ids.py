"""The id of an attempt: the claim's proof, the tag that SES hands back with every report, and the key of its row."""

from __future__ import annotations

import secrets
import time


def new_attempt_id() -> str:
    """32 hex digits: the milliseconds since 1970, and 80 random bits that nobody guesses.

    Ids of one time are neighbours in the index, so that writing one beside ten million others changes a page that is at
    hand, and not another page from anywhere on the disk for each.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
