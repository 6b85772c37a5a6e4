from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from gateway.cli.main import cli
from tests.support.environment import own_environment
from tests.support.stores import sqlite_stores


@pytest.fixture
def sesgate(tmp_path, monkeypatch):
    """Runs `sesgate` in an empty directory, whose data directory is `var`."""
    monkeypatch.chdir(tmp_path)
    # A copy, because commands load `.env` into it.
    environ = own_environment()
    monkeypatch.setattr(os, "environ", environ)

    def run(*arguments, stdin=None, **environ):
        return CliRunner().invoke(cli, arguments, input=stdin, env=environ, prog_name="sesgate")

    return run


@pytest.fixture
def stores(tmp_path):
    directory = tmp_path / "var"
    directory.mkdir(mode=0o700)
    stores = sqlite_stores(directory)
    yield stores
    stores.close()
