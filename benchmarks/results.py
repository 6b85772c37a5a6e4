"""What measurements found: a JSON file for each in var/bench, written as soon as it ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.frame import Bar, Figure, Kind, Plan, Series
from benchmarks.programs import ROOT

DIRECTORY = ROOT / "var" / "bench"
_WHAT_COUNTS = ("gateway", "tasks", "webhook", "benchmarks", "pyproject.toml", "requirements.lock")


@dataclass(frozen=True, slots=True)
class Result:
    """One run of a measurement, with all that is needed to judge and to repeat it."""

    name: str
    at: str
    commit: str
    machine: str
    seconds: float
    load_before: float
    load_after: float
    plan: Plan
    series: Sequence[Series] = field(default_factory=tuple)
    skipped: str = ""

    @property
    def command(self) -> str:
        plan, usual = self.plan, Plan()
        chosen = {
            "rounds": plan.rounds,
            "database": plan.database,
            "minutes": plan.minutes,
            "rows": plan.rows,
            "rate": plan.rate,
            "fronts": plan.fronts,
        }
        options = "".join(f" --{name} {value}" for name, value in chosen.items() if value != getattr(usual, name))
        return f"python -m benchmarks run {self.name}{options}"


def keep(result: Result, directory: Path = DIRECTORY) -> Path:
    """Write it in the place of the last one; a crash leaves either whole. Quick runs have a place of their own."""
    file = _file(directory, result.name, result.plan)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(result) | {"medians": _medians(result)}, indent=1) + "\n", encoding="utf-8")
    new.replace(file)
    return file


def _file(directory: Path, name: str, plan: Plan) -> Path:
    """Another database, another account or another number of fronts is another result."""
    database = "" if plan.database == Plan().database else f"-{plan.database}"
    rate = "" if plan.rate == Plan().rate else f"-{plan.rate:g}"
    fronts = "" if plan.fronts == Plan().fronts else f"-{plan.fronts}-fronts"
    return directory / ("quick" if plan.quick else "") / f"{name}{database}{rate}{fronts}.json"


def _medians(result: Result) -> dict[str, float]:
    """For people who read the file: what the bars are held against."""
    return {series.figure.name: series.found for series in result.series}


def read_all(directory: Path = DIRECTORY) -> list[Result]:
    """All that is kept, but quick runs."""
    return [read(file) for file in sorted(directory.glob("*.json"))]


def read(file: Path) -> Result:
    row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    row.pop("medians")
    series = [_read_series(one) for one in row.pop("series")]
    return Result(**{**row, "plan": Plan(**row["plan"]), "series": series})


def _read_series(row: dict[str, Any]) -> Series:
    figure = row["figure"]
    bar = Bar(**{**figure["bar"], "kind": Kind(figure["bar"]["kind"])})
    return Series(**{**row, "figure": Figure(**{**figure, "bar": bar})})


def commit() -> str:
    """The last commit that changed what is measured, with a `+` when files of it are changed since."""
    try:
        found = _git("log", "-1", "--format=%h", "--", *_WHAT_COUNTS)
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *_WHAT_COUNTS)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}+" if changed else found


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
