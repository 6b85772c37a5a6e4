"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass


class NotReadableError(Exception):
    """A file to be checked is missing or cannot be understood; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check: each finding is a sentence. `skipped` says why the check was not made."""

    name: str
    findings: tuple[str, ...] = ()
    skipped: str = ""
