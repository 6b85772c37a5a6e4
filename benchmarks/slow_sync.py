"""A disk that needs a millisecond more for each sync, by a small library that is built here and preloaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.frame import SkippedError, UnsoundError
from benchmarks.programs import run

_SOURCE = Path(__file__).with_name("slow_sync.c")


def build(directory: Path) -> Path:
    """The library; SkippedError without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SkippedError("there is no C compiler")
    library = directory / "slow_sync.so"
    run((compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(_SOURCE), "-ldl"), os.environ)
    library.chmod(0o755)
    return library


def require_loaded(pid: int, library: Path) -> None:
    """UnsoundError unless the program has the library in its memory."""
    if library.name not in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8"):
        raise UnsoundError(f"process {pid} does not have {library.name} loaded")
