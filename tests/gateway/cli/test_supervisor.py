"""The supervisor over real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.waiting import until

_ROOT = Path(__file__).parents[3]


class Running:
    """A supervisor in a process of its own, and what can be seen of it."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory = directory
        self.process = process

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text()

    def pids(self, name: str, suffix: str = "pids") -> list[int]:
        file = self.directory / f"{name}.{suffix}"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def all_pids(self) -> list[int]:
        files = (*self.directory.glob("*.pids"), *self.directory.glob("*.grandchildren"))
        return [int(line) for file in files for line in file.read_text().split()]

    def says(self, text: str, times: int = 1) -> None:
        until(lambda: self.output.count(text) >= times, what=f"{text!r} in the log")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(timeout=30)


@contextmanager
def supervising(directory: Path, *children: str, drain_timeout: float = 20.0) -> Iterator[Running]:
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.cli.dummies", str(directory), str(drain_timeout), *children],
            cwd=_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Running(directory, process)
    try:
        yield running
    finally:
        process.kill()
        process.wait()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_child_is_started_again(tmp_path):
    with supervising(tmp_path, "front=FRONT=obedient") as running:
        running.says("front | ready")
        os.kill(running.pids("front")[0], signal.SIGKILL)
        running.says("front | ready", times=2)
        assert "front was ended by SIGKILL" in running.output


def test_a_child_that_dies_at_once_is_started_less_and_less_often(tmp_path):
    with supervising(tmp_path, "bad=HTTP=crashing") as running:
        running.says("started again in 2 s")
        delays = [line.rsplit(" in ")[-1] for line in running.output.splitlines() if "started again" in line]
        assert delays == ["0.5 s.", "1 s.", "2 s."]


def test_what_a_child_wrote_before_it_died_is_in_the_log(tmp_path):
    with supervising(tmp_path, "bad=HTTP=crashing") as running:
        running.says("bad ended with exit code 3")
        lines = running.output.splitlines()
        assert lines.index("bad | the reason") < next(n for n, line in enumerate(lines) if "exit code 3" in line)
        assert f"bad | {'x' * 5000}" in lines


def test_a_drain_ends_the_children_stage_by_stage_and_exits_with_0(tmp_path):
    children = ("ground=GROUND=obedient", "worker=WORKERS=obedient", "web=HTTP=obedient", "front=FRONT=obedient")
    with supervising(tmp_path, *children) as running:
        running.says("| ready", times=4)
        running.signal(signal.SIGINT)
        assert running.ended() == 0
        ends = [line.split()[0] for line in running.output.splitlines() if "| ended with exit code 0" in line]
        assert ends == ["front", "web", "worker", "ground"]
        assert running.output.count("the last line") == 4
        assert not [pid for pid in running.all_pids() if alive(pid)]


def test_a_drain_says_what_it_waits_for(tmp_path):
    with supervising(tmp_path, "front=FRONT=deaf") as running:
        running.says("front | ready")
        running.signal(signal.SIGTERM)
        running.says("Waiting for front (at most")


def test_a_child_that_does_not_end_in_time_is_killed_and_the_exit_code_says_so(tmp_path):
    with supervising(tmp_path, "front=FRONT=deaf", "ground=GROUND=obedient", drain_timeout=1.0) as running:
        running.says("| ready", times=2)
        running.signal(signal.SIGTERM)
        assert running.ended() == 1
        assert "front did not end in time and was killed" in running.output
        assert "ground | ended with exit code 0" in running.output


def test_the_second_signal_ends_everything_at_once(tmp_path):
    with supervising(tmp_path, "front=FRONT=deaf", "worker=WORKERS=parent", drain_timeout=300.0) as running:
        running.says("| ready", times=2)
        running.signal(signal.SIGINT)
        running.says("Waiting for front")
        running.signal(signal.SIGINT)
        assert running.ended() == 1
        until(lambda: not [pid for pid in running.all_pids() if alive(pid)])


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path):
    with supervising(tmp_path, "front=FRONT=obedient", "deaf=HTTP=deaf") as running:
        running.says("| ready", times=2)
        running.signal(signal.SIGKILL)
        running.ended()
        until(lambda: not [pid for pid in running.all_pids() if alive(pid)])


def test_what_a_child_started_ends_with_it(tmp_path):
    with supervising(tmp_path, "worker=WORKERS=parent") as running:
        running.says("worker | ready")
        [grandchild] = running.pids("worker", "grandchildren")
        os.kill(running.pids("worker")[0], signal.SIGKILL)
        running.says("worker | ready", times=2)
        until(lambda: not alive(grandchild))


def test_a_child_has_neither_the_terminal_nor_a_signal_that_is_meant_for_the_supervisor(tmp_path):
    with supervising(tmp_path, "front=FRONT=obedient") as running:
        running.says("front | ready")
        [pid] = running.pids("front")
        assert os.getpgid(pid) == pid != os.getpgid(running.process.pid)
