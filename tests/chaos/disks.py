"""Disks of the rig's own: an ext4 image whose power can be cut, and a small tmpfs that can be filled."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.scenario import Skipped

MIB = 1024**2
_BLOCK = 64 * 1024


@contextlib.contextmanager
def tmpfs(directory: Path, mebibytes: int) -> Iterator[Path]:
    """A file system in memory of that size, mounted at `directory` for the time of the block."""
    directory.mkdir(parents=True)
    with _mounted(directory, "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs"):
        yield directory


class Image:
    """A file that holds an ext4 file system, as a disk would."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def made(cls, file: Path, mebibytes: int) -> Image:
        """An empty one. Skipped where there is no mkfs.ext4."""
        program = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise Skipped("mkfs.ext4 is not installed, which a loop mount needs")
        with file.open("wb") as empty:
            empty.truncate(mebibytes * MIB)
        subprocess.run([program, "-q", "-F", str(file)], check=True, capture_output=True)
        return cls(file)

    @contextlib.contextmanager
    def mounted(self, directory: Path) -> Iterator[Path]:
        """Mounted at `directory` for the time of the block; the journal is replayed, as after a power cut."""
        directory.mkdir(parents=True, exist_ok=True)
        with _mounted(directory, "-o", "loop", str(self.file)):
            yield directory

    def copied(self, file: Path) -> Image:
        """What is on the disk at this moment, and not what the kernel still keeps in memory for it."""
        subprocess.run(["cp", "--sparse=always", str(self.file), str(file)], check=True, capture_output=True)
        return Image(file)


@contextlib.contextmanager
def _mounted(directory: Path, *arguments: str) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments, str(directory)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"this mount is not allowed here without root: {done.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a program of a scenario that failed may still have files open there.
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True)


class Ballast:
    """A file that fills a disk until a given number of bytes is free, and can be thrown off."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def leave(self, free: int) -> None:
        """Take all but so many bytes."""
        status = os.statvfs(self._file.parent)
        self._take(status.f_bavail * status.f_frsize - free)

    def take_all(self) -> None:
        """To the last byte, whoever else is writing."""
        with contextlib.suppress(OSError):
            while True:
                self._take(_BLOCK)

    def _take(self, size: int) -> None:
        with self._file.open("ab", buffering=0) as file:
            for done in range(0, size, _BLOCK):
                file.write(bytes(min(_BLOCK, size - done)))

    def throw_off(self) -> None:
        self._file.unlink(missing_ok=True)
