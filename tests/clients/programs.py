"""Finding and running other people's mail programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.clients.front import HOST, Front, Login, Way

_SCRIPTS = Path(__file__).parent / "scripts"
# Debian's own node looks there by itself, others do not.
_NODE_PATH = "/usr/share/nodejs"


def program(*names: str) -> str:
    """The first of them that is installed. Without one the test is skipped at home, and fails in CI."""
    found = next(filter(None, map(shutil.which, (*names, *(f"/usr/sbin/{name}" for name in names)))), None)
    if found is None:
        missing(f"{names[0]} is not installed")
    return found


def missing(reason: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@cache
def _starts(*argv: str) -> bool:
    return subprocess.run(argv, env=_environ(), capture_output=True, check=False, timeout=30).returncode == 0


def library(name: str, *argv: str) -> None:
    """Skip, or fail in CI, unless this command, which loads a library, ends well."""
    if not _starts(*argv):
        missing(f"{name} is not installed")


def swaks_with_tls() -> str:
    found = program("swaks")
    library("Net::SSLeay, which swaks speaks TLS with,", program("perl"), "-MNet::SSLeay", "-e1")
    return found


def run(*argv: str | Path, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, env=_environ() | environ, input=stdin, capture_output=True, check=False, timeout=60)


def script(interpreter: str, name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Give a job to one of the scripts as JSON, and read what it tells of the outcome."""
    done = run(interpreter, _SCRIPTS / name, stdin=json.dumps(job).encode())
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


def server_of(front: Front, way: Way, login: Login | None = None) -> dict[str, Any]:
    """What a script is told about the server; `login` instead of the one that belongs to the way."""
    login = login or front.login(way)
    return {
        "host": HOST,
        "port": front.port(way),
        "security": way.security,
        "ca_file": str(front.ca_file),
        "user": login.name if login else "",
        "secret": login.secret if login else "",
    }


def _environ() -> dict[str, str]:
    """Without the settings of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "NODE_PATH": _NODE_PATH}
