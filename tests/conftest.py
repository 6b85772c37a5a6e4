"""The servers that tests share, made once a process on first use, and how tests are shared out between processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tests.support.postgres import Postgres, running_postgres

_MOST_PROCESSES = 8
# What takes longest begins first, so that no process is left alone with it at the end.
_LONGEST_FIRST = (
    "tests/chaos/",
    "tests/system/",
    "tests/deploy/test_services.py",
    "tests/clients/",
    "tests/tasks/",
    "tests/gateway/cli/",
    "tests/gateway/sandbox/",
    "tests/gateway/smtp/",
    "tests/webhook/",
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the tests' own. Without one installed the test is skipped, and fails in CI."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _loggers_that_keep_no_settings() -> Iterator[None]:
    """A program's loggers keep the settings of their first line; here the next test would find those of the last."""
    configure = structlog.configure

    def uncached(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", uncached)
        yield


@pytest.fixture(autouse=True)
def _logs_as_they_were(_loggers_that_keep_no_settings: None) -> Iterator[None]:
    """A test that starts a program within this process leaves the next one's log alone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # of several processes; who runs tests alone sees the quick ones first
        items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    return next((rank for rank, path in enumerate(_LONGEST_FIRST) if nodeid.startswith(path)), len(_LONGEST_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: a process for each core that we may use. xdist would ask for the cores of the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_PROCESSES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share servers, or load the machine, stay in one process, one after the other."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  xdist is not there where tests run without it

    class ByServers(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False  # the order of the collection, which is ours
    return ByServers(config, log)


def scope_of(nodeid: str) -> str:
    """Which tests stay together: those of a file; of a system test, those on one database; and the whole chaos rig."""
    file = nodeid.partition("::")[0]
    if file.startswith("tests/chaos/"):
        return "tests/chaos"
    if file.startswith("tests/system/"):
        database = nodeid.partition("[")[2].rstrip("]").partition("-")[0]
        return f"{file}[{database}]"
    return file
