"""The corpus: one file an input. What is committed seeds every run; what a long run finds is kept in var/ beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = Path(__file__).with_name("corpus")
FOUND = ROOT / "var" / "fuzz" / "corpus"


def inputs(target: str) -> Iterator[bytes]:
    """Everything there is for the target, what is committed first."""
    for directory in (COMMITTED / target, FOUND / target):
        for file in sorted(directory.glob("*")):
            yield file.read_bytes()


def keep(target: str, data: bytes, *, failed: bool = False) -> Path:
    """Write an input down; one that failed goes to where it will be committed."""
    directory = (COMMITTED if failed else FOUND) / target
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{'crash-' if failed else ''}{hashlib.sha256(data).hexdigest()[:16]}"
    file.write_bytes(data)
    return file
