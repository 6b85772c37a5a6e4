"""Programs that a measurement starts, and ends by their ids, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.frame import UnsoundError
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parent.parent
_PATIENCE = 60.0


@contextmanager
def running(
    argv: Sequence[str], environ: Mapping[str, str], log: Path, is_ready: Callable[[str], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program, ready by what it has logged since its start, in a session of its own: Ctrl-C ends it through us."""
    with log.open("ab") as output:
        begins = output.tell()
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until(lambda: _is_up(process, log, begins, is_ready), what=f"{log.stem} is ready")
        yield process
    finally:
        end(process)


def _is_up(process: subprocess.Popen[bytes], log: Path, begins: int, is_ready: Callable[[str], bool]) -> bool:
    written = log.read_bytes()[begins:].decode(errors="replace")
    if process.poll() is not None:
        raise UnsoundError(f"{log.stem} ended with {process.returncode} at its start:\n{written[-2000:]}")
    return is_ready(written)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the program to end; what is left of its session after a while is killed."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(argv: Sequence[str], environ: Mapping[str, str], *, seconds: float = 120) -> str:
    """What a program printed that ended well; UnsoundError with its last words otherwise."""
    done = subprocess.run(
        argv, cwd=ROOT, env=dict(environ), capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode or done.stderr:
        raise UnsoundError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
