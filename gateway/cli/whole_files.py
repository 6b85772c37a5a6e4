"""Writing a file whole or not at all: what stood there before stays until all of the new one is on stable storage."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_OWNER_ONLY = 0o700


@contextmanager
def replacing(path: Path, *, keeps_access: bool = False) -> Iterator[IO[bytes]]:
    """A stream that becomes the file at `path`, readable by its owner only, when the block ends without an exception.

    With `keeps_access` who may read it stays who could before, and a symbolic link goes on pointing to it: a service
    may read the file under another name and as another user. What is no regular file (a terminal, a pipe, /dev/null)
    cannot be replaced and is written to. OSError when it cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    target = path.resolve() if keeps_access else path
    with tempfile.NamedTemporaryFile(dir=target.absolute().parent, prefix=f".{target.name}-", delete=False) as new:
        try:
            yield new
            new.flush()
            if keeps_access and target.exists():
                _give_access(new.fileno(), target.stat())
            os.fsync(new.fileno())
            Path(new.name).replace(target)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def _give_access(descriptor: int, before: os.stat_result) -> None:
    """Owner, group and mode as they were; nobody but the owner where that owner and group cannot be kept."""
    mode = before.st_mode & 0o777
    try:
        os.fchown(descriptor, before.st_uid, before.st_gid)
    except PermissionError:
        mode &= _OWNER_ONLY
    os.fchmod(descriptor, mode)
