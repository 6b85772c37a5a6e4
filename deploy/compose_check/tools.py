"""Judgements of others: the schema of the compose specification, and Docker's and hadolint's own, where they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.compose_check.composefile import EXAMPLE
from deploy.compose_check.composefile import FILE as COMPOSE
from deploy.compose_check.dockerfile import FILE as DOCKERFILE
from deploy.compose_check.outcome import Outcome

_TIMEOUT = 60.0


def check_schema(root: Path) -> Outcome:
    """By check-jsonschema, which brings the schema along."""
    argv = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(root / COMPOSE))
    return _judge(f"{COMPOSE} follows the schema of the compose specification", argv, root)


def check_with_compose(root: Path) -> Outcome:
    """`docker compose config` reads, merges and interpolates the file without an engine."""
    name = f"docker compose understands {COMPOSE}"
    program = _compose_program()
    if not program:
        return Outcome(name, skipped="docker compose is not installed")
    return _judge(name, (*program, "--file", COMPOSE, "config", "--quiet"), root)


def check_with_hadolint(root: Path) -> Outcome:
    name = f"hadolint has nothing against {DOCKERFILE}"
    program = shutil.which("hadolint")
    if program is None:
        return Outcome(name, skipped="hadolint is not installed")
    return _judge(name, (program, DOCKERFILE), root)


def _compose_program() -> tuple[str, ...]:
    docker = shutil.which("docker")
    if docker and _run((docker, "compose", "version"), Path.cwd()).returncode == 0:
        return docker, "compose"
    alone = shutil.which("docker-compose")
    return (alone,) if alone else ()


def _judge(name: str, argv: Sequence[str], root: Path) -> Outcome:
    try:
        done = _run(argv, root)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Outcome(name, (f"{argv[0]} could not be run ({error}).",))
    if done.returncode == 0:
        return Outcome(name)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return Outcome(name, tuple(lines) or (f"{argv[0]} ended with {done.returncode} and no word.",))


def _run(argv: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **EXAMPLE}
    return subprocess.run(
        argv, cwd=directory, env=environ, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
