"""Which programs make up an installation on one machine, and in which order they end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from gateway.cli.programs import admin_argv, queue_argv, webhook_argv
from gateway.cli.up.redis import OwnRedis
from gateway.settings import DOTENV_LOADED, Settings


class Stage(IntEnum):
    """Draining ends the children in this order: first what lets mail in, last what the others stand on."""

    FRONT = 1
    HTTP = 2  # and whatever else lets feedback in
    WORKERS = 3
    GROUND = 4


@dataclass(frozen=True)
class Child:
    """One program of the installation; `environ` is all that it gets."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    stage: Stage


def child_environ(
    environ: Mapping[str, str],
    settings: Settings,
    *,
    redis: OwnRedis | None,
    overrides: Mapping[str, str | None] | None = None,
) -> dict[str, str]:
    """The environment of every child: ours, where the broker and the data are, and what the sandbox sets and unsets."""
    merged = {
        **environ,
        "SESGATE_DATA_DIR": str(settings.data_dir.absolute()),
        "PYTHONUNBUFFERED": "1",
        DOTENV_LOADED: "1",
    }
    if redis:
        merged["SESGATE_BROKER_URL"] = redis.url
    for name, value in (overrides or {}).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
            merged.pop(f"{name}_FILE", None)
    return merged


def plan(settings: Settings, environ: Mapping[str, str], *, sandbox: bool, redis: OwnRedis | None) -> tuple[Child, ...]:
    """The children in the order in which they start."""
    python = sys.executable
    sesgate, celery = (python, "-m", "gateway.cli"), (python, "-m", "celery", "--quiet", "-A", "tasks")
    ground = []
    if redis:
        ground.append(Child("redis", redis.argv(settings.data_dir.absolute()), environ, Stage.GROUND))
    if sandbox:
        ground.append(Child("sandbox", (*sesgate, "sandbox"), environ, Stage.GROUND))
    fronts = [Child(name, (*sesgate, "smtp"), environ, Stage.FRONT) for name in _front_names(settings.fronts)]
    workers = [
        Child(f"worker{number}", (*celery, *_worker_options(settings, number)), environ, Stage.WORKERS)
        for number in range(1, settings.workers + 1)
    ]
    return (
        *ground,
        *fronts,
        *workers,
        Child("webhook", webhook_argv(settings), environ, Stage.HTTP),
        *((Child("feedback-queue", queue_argv(), environ, Stage.HTTP),) if settings.feedback_queue_url else ()),
        Child("admin", admin_argv(settings), environ, Stage.HTTP),
        Child("flower", (*celery, "flower"), environ, Stage.HTTP),
    )


def _front_names(number: int) -> tuple[str, ...]:
    """They share the ports: the kernel gives each new connection to one of them (SO_REUSEPORT)."""
    return ("smtp",) if number == 1 else tuple(f"smtp{one}" for one in range(1, number + 1))


def _worker_options(settings: Settings, number: int) -> tuple[str, ...]:
    threads = str(settings.worker_threads)
    return ("worker", "-P", "threads", "-c", threads, "-n", worker_node(number), "--loglevel", "INFO")


def worker_node(number: int) -> str:
    """The name under which Celery and Flower know a worker; Celery puts the host's name in."""
    return f"worker{number}@%h"
