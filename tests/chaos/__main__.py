"""The command of the rig: `python -m tests.chaos list | run [NAMES] | report`."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tests.chaos.perform import perform
from tests.chaos.report import put_between_marks, table
from tests.chaos.results import FILE, ROOT, Result, Results, commit
from tests.chaos.scenario import Scenario, Tier, load

_RUNS = FILE.parent / "runs"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return int(options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("list", help="name the scenarios, their pass lines and how long they may take")
    listing.set_defaults(command=_list)
    running = commands.add_parser("run", help="run scenarios; what is stored for this commit is not run again")
    running.add_argument("names", nargs="*", metavar="NAME", help="which ones; all of the tier when none is named")
    running.add_argument("--tier", type=Tier, choices=list(Tier), default=Tier.STANDARD)
    running.add_argument("--mutant", help="run the programs with this defect built in: the scenario should fail")
    running.add_argument("--fresh", action="store_true", help="run again what is stored already")
    running.set_defaults(command=_run)
    reporting = commands.add_parser("report", help="print the stored results as the table of docs/reliability.md")
    reporting.add_argument("--into", type=Path, metavar="FILE", help="put it between the marks of this file instead")
    reporting.set_defaults(command=_report)
    return parser


def _list(_: argparse.Namespace) -> int:
    for one in load().values():
        budgets = ", ".join(f"{tier} {seconds} s" for tier, seconds in one.tiers.items())
        print(f"{one.name:>10}  {one.title} ({budgets})\n{'':>12}{one.passes}")
    return 0


def _report(options: argparse.Namespace) -> int:
    written = table(load().values(), Results())
    if options.into is None:
        print(written)
    else:
        options.into.write_text(put_between_marks(options.into.read_text(), written))
    return 0


def _run(options: argparse.Namespace) -> int:
    known = load()
    if unknown := [name for name in options.names if name not in known]:
        print(f"There is no scenario named {', '.join(unknown)}: `python -m tests.chaos list` names them.")
        return 2
    wanted = [one for one in known.values() if _is_wanted(one, options)]
    print(f"{len(wanted)} scenarios, about {math.ceil(sum(one.tiers[options.tier] for one in wanted) / 60)} minutes.")
    results = Results()
    try:
        ended = [_ended(one, options, results) for one in wanted]
    except KeyboardInterrupt:
        print(f"\nStopped. What has ended is kept in {FILE.relative_to(ROOT)}; the same command goes on from there.")
        return 130
    failed = [result.name for result in ended if result.outcome == "failed"]
    print(f"{len(ended) - len(failed)} of {len(ended)} did not fail.")
    if failed:
        print(f"Failed: {', '.join(failed)}. The logs of the programs are in {_RUNS.relative_to(ROOT)}.")
    return 1 if failed else 0


def _is_wanted(one: Scenario, options: argparse.Namespace) -> bool:
    if options.names and one.name not in options.names:
        return False
    if options.tier not in one.tiers:
        if options.names:
            print(f"{one.name} is not part of the {options.tier} tier.")
        return False
    return True


def _ended(one: Scenario, options: argparse.Namespace, results: Results) -> Result:
    """Its stored result, or a new one. A failure is never taken from the store: it is tried again."""
    stored = results.find(one.name, options.tier, options.mutant)
    if not options.fresh and stored and stored.commit == commit() and stored.outcome != "failed":
        print(f"{one.name}: {stored.outcome} already at this commit ({stored.at})")
        return stored
    print(f"{one.name}: {one.title} (about {one.tiers[options.tier]} s)", flush=True)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"    {time.monotonic() - started:6.1f} s  {text}", flush=True)

    directory = _RUNS / f"{one.name}-{options.tier}{'-' + options.mutant if options.mutant else ''}"
    with _Alarm(3 * one.tiers[options.tier] + 120):
        result = perform(one, options.tier, directory, mutant=options.mutant, say=say)
    results.add(result)
    print("".join(f"             {name}: {value}\n" for name, value in result.figures.items()), end="")
    reason = f": {'; '.join(result.sentences)}" if result.sentences else ""
    print(f"{one.name}: {result.outcome} in {result.seconds} s{reason}", flush=True)
    return result


class _Alarm:
    """A scenario that hangs fails, instead of keeping the others from running."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        signal.alarm(self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it did not end within {self._seconds} s")


if __name__ == "__main__":
    sys.exit(main())
