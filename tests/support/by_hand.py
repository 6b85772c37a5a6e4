"""The programs of an installation started one by one, as an operator or systemd starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gateway.sandbox import names
from tests.support.ports import free_port
from tests.support.redis import Redis
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
CELERY = (sys.executable, "-m", "celery", "-A", "tasks")
SESGATE = (sys.executable, "-m", "gateway.cli")
_START_SECONDS = 60


@dataclass
class Program:
    """A program that was started, and how to start it again."""

    argv: tuple[str, ...]
    settings: Mapping[str, str]
    is_ready: Callable[[], bool]
    what: str
    log_begins: int = field(default=0)
    process: subprocess.Popen[bytes] | None = field(default=None)


class ByHand:
    """A Redis, a simulated AWS, and whatever programs a test starts over one database.

    With a `mutant` the front and the workers have that defect built in (`tests.chaos.mutants`).
    """

    def __init__(
        self,
        directory: Path,
        database_url: str = "",
        *,
        mutant: str | None = None,
        sandbox_port: int | None = None,
        **settings: str,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.database_url = database_url
        self.mutant = mutant
        self.smtp_port, self.webhook_port, self.flower_port = free_port(), free_port(), free_port()
        self.ports: dict[str, int] = {}  # of the programs that have one of their own
        self.redis = Redis()
        self.sandbox = Sandbox(
            webhook_url=f"http://127.0.0.1:{self.webhook_port}/sns",
            directory=directory / names.DIRECTORY,
            port=sandbox_port,
        )
        self._settings = {
            "SESGATE_DATA_DIR": str(directory),
            "SESGATE_LISTENERS": f"127.0.0.1:{self.smtp_port}",
            "SESGATE_WEBHOOK_LISTEN": f"127.0.0.1:{self.webhook_port}",
            "SESGATE_FLOWER_LISTEN": f"127.0.0.1:{self.flower_port}",
            "SESGATE_BROKER_URL": self.redis.url,
            **({"SESGATE_DATABASE_URL": database_url} if database_url else {}),
            **settings,
        }
        self._programs: dict[str, Program] = {}
        self._wait = True

    def __enter__(self) -> Self:
        self.redis.__enter__()
        self.sandbox.__enter__()
        self.command("migrate")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.running():
            self.kill(name)
        self.sandbox.__exit__()
        self.redis.__exit__()

    @property
    def environ(self) -> dict[str, str]:
        foreign = {name for name in os.environ if name.startswith("SESGATE_")}
        wanted = self.sandbox.environment(**self._settings)
        return {name: value for name, value in wanted.items() if name not in foreign or name in self._settings}

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [*SESGATE, *arguments], env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, name: str) -> str:
        """All that a program wrote, over all its starts."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    # Starting

    def smtp(self, name: str = "smtp") -> None:
        self._start(name, (*SESGATE, "smtp"), lambda: "smtp.listening" in self._new_log(name), "listens")

    def webhook(self, name: str = "webhook", port: int | None = None) -> None:
        """On a port of its own it is a second endpoint, which has to be subscribed: see `subscribe`."""
        port = port or self.webhook_port
        self._start(
            name,
            (*SESGATE, "webhook"),
            lambda: self._answers(port, "/readyz"),
            "answers",
            SESGATE_WEBHOOK_LISTEN=f"127.0.0.1:{port}",
        )

    def subscribe(self, port: int) -> None:
        """Have the notifications delivered to a webhook on that port, too."""
        sns = self.sandbox.client("sns")
        sns.subscribe(TopicArn=names.TOPIC_ARN, Protocol="http", Endpoint=f"http://127.0.0.1:{port}/sns")
        until(lambda: self._confirmed(sns, port), what="the subscription is confirmed")

    @staticmethod
    def _confirmed(sns: Any, port: int) -> bool:
        found = sns.list_subscriptions_by_topic(TopicArn=names.TOPIC_ARN)["Subscriptions"]
        return any(f":{port}/" in one["Endpoint"] and one["SubscriptionArn"].startswith("arn:") for one in found)

    def worker(self, name: str = "worker", *options: str) -> None:
        self._start(
            name,
            (*CELERY, "worker", *(options or ("-P", "threads")), "-n", f"{name}@%h", "--loglevel", "INFO"),
            lambda: " ready." in self._new_log(name),
            "is ready",
        )

    def flower(self) -> None:
        self._start("flower", (*CELERY, "flower"), lambda: self._answers(self.flower_port, "/healthcheck"), "answers")

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is started inside starts side by side, and all of it is ready at the end."""
        before, self._wait = set(self.running()), False
        try:
            yield
        finally:
            self._wait = True
        for name in self.running():
            if name not in before:
                self.wait_until_ready(name)

    def again(self, name: str) -> None:
        """Start a program that has ended once more, exactly as it was started before."""
        program = self._programs[name]
        assert program.process is None, f"{name} runs"
        self._launch(name, program)

    def wait_until_ready(self, name: str) -> None:
        program = self._programs[name]
        until(program.is_ready, seconds=_START_SECONDS, what=f"{name} {program.what}")

    def _start(
        self, name: str, argv: tuple[str, ...], is_ready: Callable[[], bool], what: str, **settings: str
    ) -> None:
        self._launch(name, Program(argv, settings, is_ready, what))

    def _launch(self, name: str, program: Program) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            program.log_begins = log.tell()
            program.process = subprocess.Popen(
                self._mutated(program.argv),
                cwd=ROOT,
                env=self.environ | program.settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._programs[name] = program
        if self._wait:
            self.wait_until_ready(name)

    def _mutated(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The webhook replaces its process by another program, and no mutant is about it."""
        if self.mutant is None or "webhook" in argv:
            return argv
        return (sys.executable, "-m", "tests.chaos.mutants", self.mutant, "--", *argv)

    def _new_log(self, name: str) -> str:
        with (self.directory / f"{name}.log").open("rb") as log:
            log.seek(self._programs[name].log_begins)
            return log.read().decode(errors="replace")

    # Ending

    def running(self) -> list[str]:
        return [name for name, program in self._programs.items() if program.process is not None]

    def pid(self, name: str) -> int:
        """Of a running program; it leads a process group of the same number."""
        process = self._programs[name].process
        assert process is not None, f"{name} does not run"
        return process.pid

    def has_ended(self, name: str) -> bool:
        """Whether a program that was started, and neither stopped nor killed through here, has ended by itself."""
        process = self._programs[name].process
        return process is not None and process.poll() is not None

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and the exit code. SIGINT goes to all that it started, too, as Ctrl-C in a terminal does."""
        process = self._taken(name)
        if how is signal.SIGINT:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        return process.wait(timeout=60)

    def kill(self, name: str) -> None:
        """`kill -9` of the program and all that it started."""
        process = self._taken(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _taken(self, name: str) -> subprocess.Popen[bytes]:
        program = self._programs[name]
        process, program.process = program.process, None
        assert process is not None, f"{name} does not run"
        return process

    @staticmethod
    def _answers(port: int, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def sent(self) -> list[dict[str, Any]]:
        return self.sandbox.messages()

    def shown(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json"))
