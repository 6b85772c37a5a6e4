"""The programs of an installation started one by one, as an operator or systemd starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

from gateway.sandbox import names
from tests.support.redis import Redis
from tests.support.sandbox import Sandbox, free_port
from tests.support.waiting import until

CELERY = (sys.executable, "-m", "celery", "-A", "tasks")
SESGATE = (sys.executable, "-m", "gateway.cli")


class ByHand:
    """A Redis, a simulated AWS, and whatever programs a test starts over one database."""

    def __init__(self, directory: Path, database_url: str = "", **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.smtp_port, self.webhook_port, self.flower_port = free_port(), free_port(), free_port()
        self.ports: dict[str, int] = {}  # of the programs that have one of their own
        self.redis = Redis()
        self.sandbox = Sandbox(
            webhook_url=f"http://127.0.0.1:{self.webhook_port}/sns", directory=directory / names.DIRECTORY
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
        self._programs: dict[str, tuple[tuple[str, ...], subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> Self:
        self.redis.__enter__()
        self.sandbox.__enter__()
        self.command("migrate")
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._programs):
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
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def smtp(self, name: str = "smtp") -> None:
        self._start(name, (*SESGATE, "smtp"))
        until(lambda: "smtp.listening" in self.log(name), what=f"{name} listens")

    def webhook(self, name: str = "webhook", port: int | None = None) -> None:
        """On a port of its own it is a second endpoint, which has to be subscribed: see `subscribe`."""
        port = port or self.webhook_port
        self._start(name, (*SESGATE, "webhook"), SESGATE_WEBHOOK_LISTEN=f"127.0.0.1:{port}")
        until(lambda: self._answers(port, "/readyz"), what=f"{name} answers")

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
            name, (*CELERY, "worker", *(options or ("-P", "threads")), "-n", f"{name}@%h", "--loglevel", "INFO")
        )
        until(lambda: " ready." in self.log(name), what=f"{name} is ready")

    def flower(self) -> None:
        self._start("flower", (*CELERY, "flower"))
        until(lambda: self._answers(self.flower_port, "/healthcheck"), what="Flower answers")

    def _start(self, name: str, argv: tuple[str, ...], **settings: str) -> None:
        environ = self.environ | settings
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                argv, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._programs[name] = (argv, process)

    def stop(self, name: str) -> int:
        """SIGTERM, and the exit code."""
        _, process = self._programs.pop(name)
        process.terminate()
        return process.wait(timeout=60)

    def kill(self, name: str) -> None:
        """`kill -9` of the program and all that it started."""
        _, process = self._programs.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

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
