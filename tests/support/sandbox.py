"""A running sandbox (the simulated AWS) for tests: a process of its own, on a free port, in a directory of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import boto3
import urllib3
from botocore.config import Config

from gateway.sandbox import names
from gateway.sandbox.environment import child_environment
from tests.support.ports import free_port
from tests.support.waiting import until

_PROGRAM = """
import json, sys
from pathlib import Path
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.server import serve
host, port, directory, *urls = json.loads(sys.argv[1])
serve(SandboxConfig(host, port, Path(directory), *urls))
"""


class Sandbox:
    """`with Sandbox(webhook_url="http://127.0.0.1:8024/sns") as sandbox:` starts it and waits until it answers.

    Without a webhook URL the webhook has no subscription, and without its URL the feedback queue has none. Without a
    directory it uses one that goes away at the end.
    """

    def __init__(
        self,
        *,
        webhook_url: str | None = None,
        feedback_queue_url: str | None = None,
        directory: Path | None = None,
        port: int | None = None,
    ) -> None:
        self.webhook_url = webhook_url
        self.feedback_queue_url = feedback_queue_url
        self.port = port or free_port()
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.gettempdir(), f"sandbox-{secrets.token_hex(8)}")
        self._process: subprocess.Popen[bytes] | None = None
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(10.0))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._http.clear()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def certificate_file(self) -> Path:
        """What the webhook pins."""
        return self.directory / names.SIGNING_CERTIFICATE_FILE

    @property
    def log(self) -> str:
        """What the process wrote so far."""
        return (self.directory / "output.log").read_text(errors="replace")

    def client(self, service: str, **config: Any) -> Any:
        """An unmodified boto3 client of the sandbox, without botocore's retries unless `config` says otherwise."""
        make: Any = boto3.client  # Its stubs know each service by its literal name only.
        return make(
            service,
            endpoint_url=self.endpoint,
            region_name=names.REGION,
            aws_access_key_id="sandbox",
            aws_secret_access_key="sandbox",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=20).merge(Config(**config)),
        )

    def environment(self, **more: str) -> dict[str, str]:
        """A whole environment for a child process that talks to this sandbox and to nothing else of AWS."""
        changed = child_environment(self.endpoint) | more
        merged = {**os.environ, **{name: value for name, value in changed.items() if value is not None}}
        return {name: value for name, value in merged.items() if changed.get(name, "") is not None}

    def messages(self) -> list[dict[str, Any]]:
        """The accepted copies, oldest first."""
        return self._lines("messages")

    def notifications(self) -> list[dict[str, Any]]:
        return self._lines("notifications")

    def raw(self, message_id: str) -> bytes:
        return bytes(self._call("GET", f"messages/{message_id}/raw"))

    def clear(self) -> None:
        self._call("DELETE", "messages")

    def set_faults(self, **faults: Any) -> dict[str, Any]:
        """Exactly these; without any, all are off."""
        return dict(json.loads(self._call("PUT", "faults", faults)))

    def set_account(self, **account: Any) -> dict[str, Any]:
        """The default account but for these."""
        return dict(json.loads(self._call("PUT", "account", account)))

    def set_fates(self, **fates: list[str]) -> dict[str, Any]:
        """What becomes of mail to these addresses, by `**{"jane@example.com": ["Send", "Bounce"]}`; of no others."""
        return dict(json.loads(self._call("PUT", "fates", {who: {"events": told} for who, told in fates.items()})))

    def confirmed(self) -> bool:
        """Whether the webhook's subscription is confirmed."""
        subscriptions = self.client("sns").list_subscriptions()["Subscriptions"]
        return any(found["SubscriptionArn"].startswith("arn:") for found in subscriptions)

    def start(self) -> None:
        """Its directory and port are those of before, so a start after `kill` is a restart."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        given = json.dumps(["127.0.0.1", self.port, str(self.directory), self.webhook_url, self.feedback_queue_url])
        with (self.directory / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, given],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, what="the sandbox answers")

    def kill(self) -> None:
        """`kill -9` of the whole process group: nothing of it gets to say good-bye."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(timeout=20)
        self._process = None
        return code

    def restart(self) -> None:
        self.kill()
        self.start()

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the sandbox ended with code {self._process.returncode}:\n{self.log}")
        try:
            return self._http.request("GET", f"{self.endpoint}/_sandbox/healthz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _lines(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._call("GET", path).splitlines()]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        encoded = None if body is None else json.dumps(body).encode()
        response = self._http.request(method, f"{self.endpoint}/_sandbox/{path}", body=encoded)
        if response.status >= 400:
            raise AssertionError(f"{method} {path}: {response.status} {response.data.decode()}")
        return response.data
