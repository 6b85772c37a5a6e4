"""The command of the benchmarks: `python -m benchmarks list | run [NAME…] | report`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import click

from benchmarks import accept, backlog, drain, draining, end_to_end, large_content, look_up, memory, postfix, web
from benchmarks.frame import Measurement, Plan, Series, SkippedError, Stand, UnsoundError, measure
from benchmarks.machine import described
from benchmarks.report import publish, written
from benchmarks.results import DIRECTORY, Result, commit, keep, read_all
from gateway.logs import configure_logs

_PACKAGES = ("aiosmtpd", "uvloop", "boto3", "celery", "redis", "gunicorn", "flask", "peewee")
_MODULES = (accept, draining, drain, web, end_to_end, look_up, backlog, large_content, memory)


def known() -> dict[str, Measurement]:
    """All measurements by name, in the order of the table."""
    return {one.name: one for module in _MODULES for one in module.measurements()}


@click.group(help=__doc__)
def main() -> None:
    # A terminal that is closed, or `kill`, ends what was started just as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    configure_logs("console", "full")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@main.command("list")
def list_() -> None:
    """Name the measurements, their peers and their bars."""
    for one in known().values():
        for figure in one.figures:
            bar = figure.bar
            limits = f"{bar.kind}: must {bar.must or '-'}, goal {bar.goal or '-'}"
            click.echo(
                f"{one.name:>18}  {figure.title} ({limits})" + (f"\n{'':>20}against {figure.peer}" * bool(figure.peer))
            )


@main.command("run")
@click.argument("names", nargs=-1)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Each is us and the peer, in turn."
)
@click.option("--quick", is_flag=True, help="Once, and tiny: shows that everything works, and nothing about speed.")
@click.option("--database", type=click.Choice(["sqlite", "postgresql"]), default="sqlite", show_default=True)
@click.option("--minutes", type=click.FloatRange(0.05), default=10.0, show_default=True, help="Of end-to-end.")
@click.option("--rows", type=click.IntRange(1000), default=10_000_000, show_default=True, help="Finished, for backlog.")
@click.option(
    "--rate", type=click.FloatRange(1), default=5000.0, show_default=True, help="Of the SES account, a second."
)
@click.option("--fronts", type=click.IntRange(1, 64), default=1, show_default=True, help="Sharing the SMTP port.")
@click.option(
    "--patience", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds for a calm machine."
)
@click.option("--directory", type=click.Path(file_okay=False, exists=True, path_type=Path), help="For temporary files.")
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=DIRECTORY, help="Where to keep them."
)
def run_(
    names: tuple[str, ...],
    *,
    rounds: int,
    quick: bool,
    database: str,
    minutes: float,
    rows: int,
    rate: float,
    fronts: int,
    patience: float,
    directory: Path | None,
    results: Path,
) -> None:
    """Measure; all of them when none is named. Each result is kept as soon as it is there."""
    plan = Plan(rounds, quick, database, minutes, rows, rate, fronts, patience)
    found = [_kept(one, plan, directory, results) for one in _chosen(names)]
    click.echo(written(found))
    if any(result.skipped == _BROKEN for result in found):
        sys.exit(1)


@main.command("report")
def report() -> None:
    """Put all kept results into docs/performance.md and draw its chart."""
    order = list(known())
    publish(sorted(read_all(), key=lambda result: order.index(result.name)))


_BROKEN = "it failed"


def _chosen(names: Sequence[str]) -> Iterable[Measurement]:
    measurements = known()
    if unknown := [name for name in names if name not in measurements]:
        raise click.ClickException(f"There is no measurement named {', '.join(unknown)}; `list` names them.")
    return [measurements[name] for name in names or measurements]


def _kept(one: Measurement, plan: Plan, directory: Path | None, results: Path) -> Result:
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:7.1f} s  {one.name}: {text}", err=True)

    load = os.getloadavg()[0]
    machine = described(*_versions()).partition("; load at the start")[0]
    say(f"begins, at a load of {load:.1f}")
    series, skipped = _tried(one, plan, directory, say)
    result = Result(
        name=one.name,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        machine=machine,
        seconds=round(time.monotonic() - began, 1),
        load_before=load,
        load_after=os.getloadavg()[0],
        plan=plan,
        series=series,
        skipped=skipped,
    )
    if not skipped:
        keep(result, results)
    return result


def _tried(
    one: Measurement, plan: Plan, directory: Path | None, say: Callable[[str], None]
) -> tuple[Sequence[Series], str]:
    """What was found, or why nothing was."""
    with tempfile.TemporaryDirectory(prefix="sesgate-bench-", dir=directory, ignore_cleanup_errors=True) as work:
        try:
            return measure(one, Stand(Path(work), plan, say)), ""
        except SkippedError as error:
            say(f"left out: {error}")
            return (), str(error)
        except (UnsoundError, AssertionError, subprocess.SubprocessError) as error:
            say(f"failed: {error}")
            return (), _BROKEN


def _versions() -> list[str]:
    own = [f"{name} {version(name)}" for name in _PACKAGES]
    return [*own, *filter(None, (postfix.version(),))]


if __name__ == "__main__":
    main()
