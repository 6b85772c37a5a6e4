"""A real worker process: `celery -A tasks worker`, on a database of its own and against a running sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil

from tests.support.environment import own_environment
from tests.support.sandbox import Sandbox

_ROOT = Path(__file__).parents[2]


class Worker:
    """`with Worker(directory, sandbox, "-P", "threads") as worker:`; it is killed at the end, with its children."""

    def __init__(self, directory: Path, sandbox: Sandbox, *options: str, name: str = "w1", **settings: str) -> None:
        self._argv = (sys.executable, "-m", "celery", "-A", "tasks", "worker", "-n", f"{name}@test", *options)
        self._log = directory / f"{name}.log"
        self._environ = own_environment() | {
            "AWS_ENDPOINT_URL": sandbox.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "SESGATE_DATA_DIR": str(directory),
            "SESGATE_SES_CONFIGURATION_SET": "sesgate",
            "SESGATE_DISPATCH_TIMEOUT": "1s",
            "SESGATE_DISPATCHER_LEASE": "1s",
            "SESGATE_CLAIM_LEASE": "6s",
            **settings,
        }
        self._process: psutil.Popen | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def children(self) -> list[psutil.Process]:
        """The processes of a prefork pool."""
        assert self._process is not None
        return [child for child in self._process.children() if child.status() != psutil.STATUS_ZOMBIE]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = psutil.Popen(
                self._argv,
                cwd=_ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = int(self._process.wait(timeout=60))
        self._process = None
        return code

    def quit(self) -> int:
        """SIGQUIT, which is Celery's cold stop, and the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        return self.wait()

    def wait(self) -> int:
        assert self._process is not None
        return int(self._process.wait(timeout=60))

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None
