"""Waiting for what happens elsewhere, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(check: Callable[[], T], *, seconds: float = 60.0, every: float = 0.05, what: str = "") -> T:
    """Call `check` until it returns something true, and return that.

    An AssertionError after `seconds` says what was waited for and what `check` returned last.
    """
    deadline = time.monotonic() + seconds
    while True:
        outcome = check()
        if outcome:
            return outcome
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or check}; last seen: {outcome!r}")
        time.sleep(every)
