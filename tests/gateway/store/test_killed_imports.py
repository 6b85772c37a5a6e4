"""An import is killed or interrupted at every kind of step: it is nothing then, or it is finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.cli.context import actor
from gateway.suppression_files import csv_header, csv_text
from gateway.suppression_policy import Reason
from tests.gateway.store.test_suppression_imports import (
    HISTORY,
    LEFT,
    STATE,
    add,
    age,
    entry,
    gauge,
    imported,
    numbered,
    standing,
)
from tests.support.environment import own_environment
from tests.support.mail import rows

LISTED = [*numbered(8), entry("bob@example.com", Reason.COMPLAINT), entry("jane@example.com", scope="shop")]
PROGRAM = Path(__file__).with_name("killed_import.py")


def interrupted(stores, postgres_url, tmp_path, *arguments):
    file = tmp_path / "list.csv"
    file.write_text(csv_header() + csv_text(LISTED), encoding="utf-8", newline="")
    environ = own_environment()
    environ |= {"SESGATE_DATA_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    if postgres_url:
        environ["SESGATE_DATABASE_URL"] = postgres_url
    command = [sys.executable, str(PROGRAM), *map(str, arguments), str(file)]
    return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def run(stores, request, tmp_path):
    """Runs an import with a signal in it, on the database of the stores."""
    is_file = hasattr(stores.db, "path")
    url = "" if is_file else request.getfixturevalue("postgres").url(stores.db.peewee.database)
    return lambda *arguments: interrupted(stores, url, tmp_path, *arguments)


@pytest.fixture
def before(stores):
    """What stands when the import begins, and changes with it."""
    add(stores, entry("bob@example.com", Reason.BOUNCE))
    return rows(stores, STATE)


def outcome(stores):
    return rows(stores, STATE), rows(stores, HISTORY), gauge(stores), standing(stores)


@pytest.mark.parametrize("step", [("stage", 1, "before"), ("stage", 3, "after"), ("make_ready", 1, "before")])
def test_an_import_that_is_killed_before_it_is_ready_is_nothing(stores, run, before, step):
    done = run("SIGKILL", *step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert stores.imports.carry_out(left_after=timedelta(0)) == 0
    assert rows(stores, STATE) == before
    age(stores)
    while stores.imports.clear():
        pass
    assert rows(stores, LEFT) == [(0, 0)]


@pytest.mark.parametrize(
    "step", [("make_ready", 1, "after"), ("carry_out_one", 2, "before"), ("carry_out_one", 3, "after")]
)
def test_an_import_that_is_killed_when_it_is_ready_is_finished_by_others(stores, run, before, step):
    done = run("SIGKILL", *step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    while stores.imports.carry_out(2, timedelta(0)):
        pass
    finished = outcome(stores)
    assert len(finished[0]) == len(LISTED)
    assert finished[2] == finished[3]
    assert rows(stores, "SELECT subject, detail FROM audit WHERE actor = ?", actor()) == [
        ("list.csv", "10 entries: 9 new, 1 changed, 0 were there already")
    ]
    assert imported(stores, LISTED).known == len(LISTED)
    assert outcome(stores) == finished


def test_an_import_that_is_interrupted_before_it_is_ready_says_that_it_is_nothing(stores, run, before):
    done = run("SIGINT", "stage", 2, "after")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Error: Interrupted; nothing was imported.\n")
    assert rows(stores, STATE) == before
    assert rows(stores, LEFT) == [(0, 0)]


def test_an_import_that_is_interrupted_when_it_is_ready_says_who_finishes_it(stores, run, before):
    done = run("SIGTERM", "carry_out_one", 2, "after")
    told = "Error: Interrupted: 6 of 10 entries imported; the workers import the rest.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert stores.imports.carry_out(left_after=timedelta(0)) == 4
    assert len(rows(stores, STATE)) == len(LISTED)
