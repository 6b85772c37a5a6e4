"""Every path once, tiny: that it starts what it needs, measures, checks what it did, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.__main__ import known
from benchmarks.results import read
from tests.support.waiting import until

_MISSING = ("Postfix", "postfix", "PostgreSQL", "C compiler")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """For the programs' temporary files; Postfix's daemons, which are another user's, may enter it."""
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def command(name: str, results: Path, *options: str) -> tuple[str, ...]:
    places = ("--results", str(results), "--directory", str(results))
    return (sys.executable, "-m", "benchmarks", "run", name, *places, *options)


@pytest.mark.parametrize("name", known())
def test_a_path_runs_and_keeps_what_it_found(name: str, temporary: Path) -> None:
    done = _run(command(name, temporary, "--quick"))
    result = read(temporary / "quick" / f"{name}.json")
    assert [one.figure for one in result.series] == list(known()[name].figures)
    assert all(one.found > 0 for one in result.series)
    assert done.stdout.count("\n| ") == 1 + len(result.series)
    assert [file.name for file in temporary.iterdir()] == ["quick"]


@pytest.mark.parametrize("name", ["accept-kept", "drain-0"])
def test_a_path_runs_over_postgresql(name: str, temporary: Path) -> None:
    _run(command(name, temporary, "--quick", "--database", "postgresql"))
    result = read(temporary / "quick" / f"{name}-postgresql.json")
    assert result.plan.database == "postgresql"


def test_ctrl_c_ends_everything_that_was_started(temporary: Path) -> None:
    log = temporary / "log"
    with log.open("wb") as output:
        process = psutil.Popen(command("accept-kept", temporary, "--rounds", "50"), stdout=output, stderr=output)
    try:
        until(lambda: "warming up" in log.read_text() or process.poll() is not None, what="it measures")
        if process.poll() is not None:
            _skip_if_missing(log.read_text())
        started = [*process.children(recursive=True), *_postfix_masters(temporary)]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) != 0
    finally:
        if process.poll() is None:
            process.kill()
    assert len(started) >= 2
    assert psutil.wait_procs(started, timeout=30)[1] == []
    assert [file.name for file in temporary.iterdir()] == ["log"]


def test_an_unknown_name_is_told() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "benchmarks", "run", "nonsense"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "There is no measurement named nonsense" in done.stderr


def _run(argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    _skip_if_missing(done.stderr)
    return done


def _skip_if_missing(told: str) -> None:
    """A program that is not installed is a reason to skip at home, and a failure in CI, but for the compiler."""
    _, left_out, reason = told.partition("left out: ")
    if left_out:
        assert any(name in reason for name in _MISSING), reason
        may_lack = os.environ.get("CI") != "true" or "C compiler" in reason
        (pytest.skip if may_lack else pytest.fail)(reason.strip())


def _postfix_masters(temporary: Path) -> list[psutil.Process]:
    return [psutil.Process(int(file.read_text())) for file in temporary.glob("*/postfix/queue/pid/master.pid")]
