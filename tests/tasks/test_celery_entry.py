"""`celery -A tasks …` as it is typed by hand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def celery(directory, *arguments, **environ):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SESGATE_", "AWS_", "FLOWER_"))}
    return subprocess.run(
        [sys.executable, "-m", "celery", "--quiet", "-A", "tasks", *arguments],
        env={**clean, **environ},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("program", [("worker", "-P", "threads"), ("flower",), ("inspect", "ping")])
def test_without_a_broker_it_is_said_what_to_set(tmp_path, program):
    done = celery(tmp_path, *program)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("sesgate: No broker is set: set SESGATE_BROKER_URL")
    assert "Traceback" not in done.stderr
    assert "amqp" not in done.stderr


def test_help_needs_no_broker(tmp_path):
    assert "--concurrency" in celery(tmp_path, "worker", "--help").stdout


def test_the_redis_of_a_running_up_is_found_in_its_data_directory(tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "broker.url").write_text("redis+socket:///nowhere/redis.sock\n")
    done = celery(tmp_path, "report")
    assert done.returncode == 0, done.stderr
    assert "redis+socket:///nowhere/redis.sock" in done.stdout


def test_threads_are_as_many_as_the_setting_says(tmp_path):
    environ = {"SESGATE_BROKER_URL": "redis://127.0.0.1:9/0", "SESGATE_WORKER_THREADS": "7"}
    assert "worker_concurrency: 7" in celery(tmp_path, "report", **environ).stdout
