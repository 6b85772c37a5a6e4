from __future__ import annotations

import stat

import pytest

from gateway.cli.data_directory import locked, prepare
from gateway.cli.errors import CommandError, UsageError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_is_private(tmp_path):
    prepare(tmp_path / "a" / "var")
    assert mode(tmp_path / "a" / "var") == 0o700


@pytest.mark.parametrize("present", [None, "sesgate.db", "up.lock"])
def test_an_empty_directory_and_one_of_ours_become_private(tmp_path, present):
    directory = tmp_path / "var"
    directory.mkdir(mode=0o755)
    if present:
        (directory / present).touch()
    prepare(directory)
    assert mode(directory) == 0o700


def test_a_directory_of_somebody_else_is_not_closed_to_others(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="SESGATE_DATA_DIR to an empty or new one"):
        prepare(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_file_in_the_place_of_the_directory_is_one_sentence(tmp_path):
    (tmp_path / "var").touch()
    with pytest.raises(UsageError, match="cannot be used"):
        prepare(tmp_path / "var")


def test_one_supervisor_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(CommandError, match="Another `sesgate up` runs"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
