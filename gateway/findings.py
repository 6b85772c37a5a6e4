"""What `sesgate doctor` finds at one link: how it is, what was seen, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a link is. A skipped one was not looked at: something that it needs is not there."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `fix` is empty where there is nothing to do."""

    check: str
    level: Level
    seen: str
    fix: str = ""


def ok(check: str, seen: str) -> Finding:
    return Finding(check, Level.OK, seen)


def warning(check: str, seen: str, fix: str) -> Finding:
    return Finding(check, Level.WARNING, seen, fix)


def failed(check: str, seen: str, fix: str) -> Finding:
    return Finding(check, Level.FAILED, seen, fix)


def skipped(check: str, seen: str) -> Finding:
    return Finding(check, Level.SKIPPED, seen)


class Ledger:
    """Findings in the order in which they are made, each told to `tell` at once; and what stands in whose way.

    `known` are findings of others, which count for what is needed and are not among its own.
    """

    def __init__(
        self, tell: Callable[[Finding], None] = lambda _finding: None, *, known: Iterable[Finding] = ()
    ) -> None:
        self._tell = tell
        self._known = list(known)
        self._found: list[Finding] = []

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._found)

    def add(self, *findings: Finding) -> None:
        for finding in findings:
            self._found.append(finding)
            self._tell(finding)

    def missing(self, needs: Iterable[str]) -> str | None:
        """The first check among these that failed or was skipped itself; None when all hold.

        One that was skipped stands for what it needed, so that a person reads the cause and no chain of consequences.
        """
        wanted = set(needs)
        concerned = [finding for finding in (*self._known, *self._found) if finding.check in wanted]
        for finding in concerned:
            if finding.level is Level.FAILED:
                return finding.check
        for finding in concerned:
            if finding.level is Level.SKIPPED:
                return finding.seen.removeprefix(_NEEDS) if finding.seen.startswith(_NEEDS) else finding.check
        return None

    def check(self, name: str, look: Callable[[], Finding | Sequence[Finding]], *, needs: Iterable[str] = ()) -> None:
        """Look, unless something that is needed for it is missing."""
        missing = self.missing(needs)
        if missing is not None:
            self.add(skipped(name, f"{_NEEDS}{missing}"))
            return
        found = look()
        self.add(*((found,) if isinstance(found, Finding) else found))


_NEEDS = "needs "
