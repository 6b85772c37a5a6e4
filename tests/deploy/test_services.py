"""What stands in docker-compose.yml, run as it stands there, only without containers: real PostgreSQL, real Redis.

Ports, paths of secrets and names of hosts are put in place of those that only containers have.
"""

from __future__ import annotations

import base64
import os
import shutil
import smtplib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from deploy.compose.make_secrets import make_secrets, write_secrets
from deploy.compose_check.composefile import Service, read_compose
from tests.support.environment import own_environment
from tests.support.sandbox import free_port
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
COMPOSE = read_compose(ROOT)
LISTENING = {"gateway": "2525", "webhook": "8024", "admin": "8025", "flower": "5555"}


class Stack:
    """The services of the file as processes of this machine."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.secrets = directory / "secrets"
        self.ports = {name: str(free_port()) for name in [*LISTENING, "redis"]}
        self.contents = make_secrets()
        self.contents["database_url"] = database_url
        self.contents["broker_url"] = self.contents["broker_url"].replace(
            "redis:6379", f"127.0.0.1:{self.ports['redis']}"
        )
        write_secrets(self.secrets, self.contents)

    def environ(self, service: Service) -> dict[str, str]:
        """That of the file and of the image, and an AWS where nobody listens."""
        return {
            **own_environment(),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SESGATE_DATA_DIR": str(self.directory),
            **{name: self.here(value, service) for name, value in service.environment.items()},
            "SESGATE_SNS_TOPIC_ARNS": "",  # a real account's: the database is the simulation's
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def here(self, text: str, service: Service) -> str:
        if port := LISTENING.get(service.name):
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{self.ports[service.name]}")
        return text.replace("/run/secrets", str(self.secrets))

    def start(self, name: str, *extra: str) -> subprocess.Popen[bytes]:
        service = COMPOSE.services[name]
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*(self.here(word, service) for word in service.command), *extra],
                env=self.environ(service),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def is_healthy(self, name: str) -> bool:
        """What the container's own health check says."""
        service = COMPOSE.services[name]
        words = [self.ports.get(name, word) if word == LISTENING.get(name) else word for word in service.health_command]
        argv = [sys.executable, ROOT / "deploy" / "compose" / "probe.py", *words[2:]]
        return subprocess.run(argv, env=self.environ(service), capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def stack(postgres, tmp_path_factory) -> Iterator[Stack]:
    if shutil.which("redis-server") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("redis-server is not installed")
    name = postgres.new_database()
    stack = Stack(tmp_path_factory.mktemp("stack"), postgres.url(name))
    with ExitStack() as running:
        running.callback(postgres.drop, name)
        running.callback(stop, [start_redis(stack)])
        until(lambda: accepts(stack.ports["redis"]), what="Redis")
        assert stack.start("migrate", "--stamp", "sandbox").wait(60) == 0, stack.log("migrate")
        running.callback(stop, [stack.start(name) for name in ("gateway", "worker", "webhook", "admin", "flower")])
        yield stack


def start_redis(stack: Stack) -> subprocess.Popen[bytes]:
    data = stack.directory / "redis"
    data.mkdir()
    command = [word.replace("/run/secrets", str(stack.secrets)) for word in COMPOSE.services["redis"].command]
    words = [str(data) if word == "/data" else word for word in command]
    with (stack.directory / "redis.log").open("ab") as log:
        options = ["--bind", "127.0.0.1", "--port", stack.ports["redis"]]
        return subprocess.Popen([*words, *options], cwd=data, stdout=log, stderr=log)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def accepts(port: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", ["gateway", "worker", "webhook", "admin", "flower"])
def test_health_check_says_that_the_service_answers(stack, name):
    if name == "worker":  # a question before that is lost, and its answer waited for
        until(lambda: " ready." in stack.log(name), what="the worker")
    until(lambda: stack.is_healthy(name), every=0.3, seconds=60, what=f"{name}: {stack.log(name)[-2000:]}")


def test_mail_is_accepted_and_comes_to_the_workers(stack):
    until(lambda: stack.is_healthy("gateway"), what="the gateway")
    with smtplib.SMTP("127.0.0.1", int(stack.ports["gateway"]), timeout=20) as client:
        client.sendmail("app@example.com", ["you@example.com"], "From: app@example.com\r\nSubject: Hi\r\n\r\nHello\r\n")
    # SES cannot be reached, and the worker says so: the mail has come all the way through database and broker.
    until(lambda: "Task sesgate.send" in stack.log("worker"), what="a task", seconds=60)
    until(lambda: "EndpointConnectionError" in stack.log("worker"), what="an attempt to send")


def test_redis_asks_for_the_password_and_forgets_nothing_for_want_of_room(stack):
    with socket.create_connection(("127.0.0.1", int(stack.ports["redis"])), timeout=20) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")
    client = redis.Redis.from_url(stack.contents["broker_url"], decode_responses=True)
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction", "maxmemory": str(256 * 1024**2), "save": ""}
    assert {name: client.config_get(name)[name] for name in wanted} == wanted
    client.close()


def test_flower_asks_for_the_password(stack):
    until(lambda: stack.is_healthy("flower"), every=0.3, what="Flower")
    page = urllib.request.Request(f"http://127.0.0.1:{stack.ports['flower']}/tasks")
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(page, timeout=20)
    refused.value.close()
    credentials = base64.b64encode(stack.contents["flower_basic_auth"].encode()).decode()
    page.add_header("Authorization", f"Basic {credentials}")
    with urllib.request.urlopen(page, timeout=20) as answer:
        assert answer.status == 200
