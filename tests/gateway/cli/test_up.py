"""`sesgate up --sandbox` with everything that it really starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.environment import own_environment
from tests.support.sandbox import free_port
from tests.support.waiting import until

_ROOT = Path(__file__).parents[3]
_SETTINGS = ("LISTENERS", "WEBHOOK_LISTEN", "ADMIN_LISTEN", "FLOWER_LISTEN", "SANDBOX_LISTEN")
_CHILDREN = ["redis", "sandbox", "smtp", "worker1", "webhook", "admin", "flower"]
_READY = "\nsesgate is up\n"


class Up:
    """`sesgate up --sandbox`, and what can be seen of it."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    def says(self, text: str) -> None:
        until(lambda: text in self.output or self.process.poll() is not None, seconds=90, what=f"{text!r} in the log")
        assert text in self.output, self.output

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def environ(tmp_path):
    inherited = own_environment()
    addresses = {f"SESGATE_{name}": f"127.0.0.1:{free_port()}" for name in _SETTINGS}
    return {
        **inherited,
        **addresses,
        "SESGATE_DATA_DIR": str(tmp_path / "var"),
        "SESGATE_WORKERS": "1",
        # `celery -A tasks` and `python -m gateway.cli` start in another directory.
        "PYTHONPATH": str(_ROOT),
    }


@contextmanager
def running(directory: Path, environ: dict[str, str]) -> Iterator[Up]:
    output = directory / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "up", "--sandbox"],
            cwd=directory,
            env=environ,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Up(process, output)
    finally:
        process.kill()
        process.wait()


def gone(processes: list[psutil.Process]) -> bool:
    return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_it_answers_brings_back_a_killed_child_drains_and_leaves_nothing(tmp_path, environ):
    with running(tmp_path, environ) as up:
        up.says(_READY)
        assert environ["SESGATE_LISTENERS"] in up.output.split(_READY)[1]
        # Everything that listens is killed with -9, among them the master of the webhook, whose worker holds the port.
        victims = [each for each in up.descendants() if {"smtp", "webhook.wsgi:app"} & set(each.cmdline())]
        assert len(victims) == 3
        for victim in victims:
            victim.kill()
        until(lambda: up.output.count("smtp.listening") == 2, what="the SMTP front again")
        until(lambda: up.output.count(f"Listening at: http://{environ['SESGATE_WEBHOOK_LISTEN']}") == 2)
        everything = up.descendants()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(timeout=60) == 0
        assert gone(everything)
        for child in _CHILDREN:
            assert f"{child:<7} | ended with exit code 0" in up.output
    for leftover in ("redis.sock", "broker.url"):
        assert not (tmp_path / "var" / leftover).exists()


def test_it_is_alone_on_its_data_lends_its_sandbox_to_a_shell_and_leaves_nothing_when_killed(tmp_path, environ):
    with running(tmp_path, environ) as up:
        up.says(_READY)

        second = run([sys.executable, "-m", "gateway.cli", "up", "--sandbox"], tmp_path, environ)
        assert second.returncode == 1
        assert second.stderr.startswith("Error: Another `sesgate up` runs on the data directory ")

        script = 'eval "$("$0" -m gateway.cli sandbox env)" && echo "$AWS_ENDPOINT_URL $AWS_REGION $AWS_PROFILE"'
        shell = run(["sh", "-c", script, sys.executable], tmp_path, {**environ, "AWS_PROFILE": "real"})
        assert shell.stdout.split() == [f"http://{environ['SESGATE_SANDBOX_LISTEN']}", "us-east-1"]

        everything = up.descendants()
        up.process.kill()
        up.process.wait()
        until(lambda: gone(everything), what="the end of every child")


def run(argv: list[str], directory: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=directory, env=environ, capture_output=True, text=True, timeout=60, check=False)
