from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from gateway.broker import find_broker_url
from gateway.cli.errors import CommandError
from gateway.cli.up.redis import own_redis
from gateway.settings import Settings


@pytest.fixture
def program(tmp_path) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_valkey_is_as_good_as_redis_and_others_find_it_while_it_runs(tmp_path, program):
    settings = Settings(data_dir=tmp_path)
    with own_redis(settings, str(program.parent)) as redis:
        assert redis.program == program
        assert redis.socket == tmp_path / "redis.sock"
        assert find_broker_url(settings) == redis.url
    assert find_broker_url(settings) == ""


def test_a_socket_path_too_long_for_the_kernel_moves_to_a_private_directory(tmp_path, program):
    directory = tmp_path / ("x" * 100)
    directory.mkdir()
    with own_redis(Settings(data_dir=directory), str(program.parent)) as redis:
        assert len(str(redis.socket)) <= 100
        assert stat.S_IMODE(redis.socket.parent.stat().st_mode) == 0o700
    assert not redis.socket.parent.exists()


def test_a_configured_broker_means_none_of_our_own(tmp_path):
    with own_redis(Settings(data_dir=tmp_path, broker_url="redis://elsewhere/0"), "") as redis:
        assert redis is None


def test_without_any_redis_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with (
        pytest.raises(CommandError, match="install redis-server or valkey-server"),
        own_redis(Settings(data_dir=tmp_path), str(tmp_path)),
    ):
        pass
