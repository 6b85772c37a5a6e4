"""What scenarios showed: kept in one JSON file as each of them ends, so that a crash or Ctrl-C keeps what ended."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self

from tests.chaos.scenario import Figure, Tier

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "var" / "chaos" / "results.json"
_WHAT_COUNTS = ("gateway", "tasks", "webhook", "tests/chaos", "tests/support", "pyproject.toml", "requirements.lock")

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Result:
    """One performance of a scenario, with all that is needed to judge and to repeat it."""

    name: str
    tier: Tier
    outcome: Outcome
    commit: str
    at: str
    seconds: float
    figures: dict[str, Figure] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)  # which checks failed, or why it was skipped
    mutant: str | None = None
    broken: bool = False  # it failed by an error, and not by a check
    machine: str = ""
    python: str = ""

    @property
    def key(self) -> str:
        return ":".join((self.name, self.tier, self.mutant or ""))


class Results:
    """The stored results: the last of each scenario, tier and mutant."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file
        self._results = {result.key: result for result in self._read()}

    def _read(self) -> list[Result]:
        if not self._file.exists():
            return []
        return [Result(**{**row, "tier": Tier(row["tier"])}) for row in json.loads(self._file.read_text())]

    def find(self, name: str, tier: Tier, mutant: str | None = None) -> Result | None:
        return self._results.get(":".join((name, tier, mutant or "")))

    def add(self, result: Result) -> Self:
        """Keep it at once, beside what other runs have kept meanwhile.

        The file is replaced whole: whoever reads it, or a crash, finds it old or new.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._results = {one.key: one for one in self._read()} | {result.key: result}
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps([asdict(one) for one in self._results.values()], indent=1) + "\n")
            new.replace(self._file)
        return self


def commit() -> str:
    """The last commit that changed the programs or the rig, with a `+` when files of them are changed since."""
    try:
        found = _git("log", "-1", "--format=%h", "--", *_WHAT_COUNTS)
        changed = _git("status", "--porcelain", "--", *_WHAT_COUNTS)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}+" if changed else found


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def machine() -> str:
    """Which kind of machine the figures are of, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB"
