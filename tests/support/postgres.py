"""A real PostgreSQL for tests: a cluster of its own, on a unix socket, made once and copied for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_NUMBERS = count(1)
_TEMPLATE = "template_of_tests"


def _programs() -> Path | None:
    """Where `initdb` and `pg_ctl` are: on the PATH, or where Debian puts them."""
    on_path = shutil.which("initdb")
    if on_path and shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    return found[-1].parent if found else None


def require_postgres() -> Path:
    """The directory of the server's programs; without them a test is skipped at home and fails in CI."""
    programs = _programs()
    if programs is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    return programs


class Postgres:
    """A server that is started and ended by the tests. initdb refuses root, so root becomes `postgres` for it."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self.directory = directory
        self._as_user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self._user = "postgres" if self._as_user else pwd.getpwuid(os.geteuid()).pw_name

    def initialise(self) -> None:
        if self._as_user:
            shutil.chown(self.directory, "postgres", "postgres")
        self._run("initdb", "-D", str(self.directory / "data"), "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.directory} -c max_connections=200"
        self._run(
            "pg_ctl",
            "start",
            "-w",
            "-D",
            str(self.directory / "data"),
            "-l",
            str(self.directory / "log"),
            "-o",
            options,
        )

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.directory / "data"))

    def url(self, name: str) -> str:
        return f"postgresql://{self._user}@/{name}?host={self.directory}"

    def sql(self, statement: str, name: str = "postgres") -> str:
        options = (
            "-h",
            str(self.directory),
            "-U",
            self._user,
            "-d",
            name,
            "-v",
            "ON_ERROR_STOP=1",
            "-qAt",
            "-c",
            statement,
        )
        return self._run("psql", *options)

    def new_database(self, template: str | None = None) -> str:
        """The name of a fresh database, empty or a copy."""
        name = f"test_{next(_NUMBERS)}"
        self.sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def drop(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> str:
        # The output goes to a file: the server would keep a pipe open, and whoever reads it waiting.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                **self._as_user,
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        assert done.returncode == 0, f"{program}: {text}"
        return text.strip()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    programs = require_postgres()
    # The path of a unix socket may have about a hundred bytes: pytest's own directories are too deep for it.
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgres(programs, directory)
    try:
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
