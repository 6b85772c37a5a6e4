from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.smtp import disk
from gateway.smtp.disk import FreeSpace


class FileSystem:
    """What statvfs is told: `free` bytes, or an error. It counts how often it was asked."""

    def __init__(self) -> None:
        self.free: int | OSError = 0
        self.asked: list[Path] = []

    def __call__(self, directory: Path) -> SimpleNamespace:
        self.asked.append(directory)
        if isinstance(self.free, OSError):
            raise self.free
        return SimpleNamespace(f_bavail=self.free, f_frsize=1)


@pytest.fixture
def file_system(monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    found = FileSystem()
    monkeypatch.setattr(os, "statvfs", found)
    return found


def asked(space: FreeSpace, times: int = 1) -> list[bool]:
    async def ask() -> list[bool]:
        return [await space.is_short() for _ in range(times)]

    return asyncio.run(ask())


@pytest.fixture
def space(tmp_path: Path):
    with ThreadPoolExecutor(1) as executor:
        yield FreeSpace(tmp_path, 1000, executor)


def test_the_minimum_is_room_enough_and_a_byte_less_is_not(space, file_system, monkeypatch):
    monkeypatch.setattr(disk, "_CHECK_EVERY", 0.0)
    file_system.free = 1000
    assert asked(space) == [False]
    file_system.free = 999
    assert asked(space) == [True]


def test_it_is_over_when_there_is_room_again(space, file_system, monkeypatch):
    monkeypatch.setattr(disk, "_CHECK_EVERY", 0.0)
    file_system.free = 0
    assert asked(space) == [True]
    file_system.free = 2000
    assert asked(space) == [False]


def test_not_knowing_is_short(space, file_system, monkeypatch):
    monkeypatch.setattr(disk, "_CHECK_EVERY", 0.0)
    file_system.free = OSError("Input/output error")
    assert asked(space) == [True]


def test_the_disk_is_not_asked_for_each_message(space, file_system, monkeypatch):
    monkeypatch.setattr(disk, "_CHECK_EVERY", 3600.0)
    file_system.free = 2000
    assert asked(space, times=50) == [False] * 50
    assert len(file_system.asked) == 1


def test_a_directory_that_nothing_has_made_yet_is_looked_at_where_it_would_be(tmp_path, file_system):
    file_system.free = 2000
    with ThreadPoolExecutor(1) as executor:
        assert asked(FreeSpace(tmp_path / "not" / "yet", 1000, executor)) == [False]
    assert file_system.asked == [tmp_path]
