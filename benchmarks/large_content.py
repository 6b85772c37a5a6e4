"""Large content in a row of the database, as sesgate keeps it, against a spool file that the row names.

Both are on stable storage before anybody is told, and what the checkpoint writes later is part of the time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.frame import Bar, Figure, Fire, Kind, Measurement, Pair, Shot, SkippedError, Stand
from benchmarks.gateway_programs import Gateway, flush, gateway
from benchmarks.large_content_program import FILE, ROW
from benchmarks.programs import run
from benchmarks.slow_sync import build

_NAME = "large-content"
_SIZES = {"32 KB": (32_768, 800), "100 KB": (102_400, 600), "1 MB": (1_000_000, 100), "20 MB": (20_000_000, 8)}
_DISKS = {"": "", "slow": ", 1 ms added to every fsync"}


def measurements() -> tuple[Measurement, ...]:
    figures = tuple(
        Figure(
            _named(size, disk),
            f"content of {size} stored in a row, 20 sessions{more}",
            "messages/s",
            Bar(Kind.TIMES_AT_LEAST, None, None),
            "a spool file, synced with its directory, and a row",
        )
        for disk, more in _DISKS.items()
        for size in _SIZES
    )
    return (Measurement(_NAME, figures, _set_up),)


def _named(size: str, disk: str) -> str:
    return f"large {size} {disk}".strip()


@contextmanager
def _set_up(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    if stand.plan.database != "sqlite":
        raise SkippedError("a spool file beside PostgreSQL would be on another machine than the row")
    library = build(stand.directory)
    with gateway(stand) as product:
        yield {
            _named(size, disk): Pair(
                *(_firing(stand, product, way, size, library if disk else None) for way in (ROW, FILE))
            )
            for disk in _DISKS
            for size in _SIZES
        }


def _firing(stand: Stand, product: Gateway, way: str, size: str, library: Path | None) -> Fire:
    octets, whole = _SIZES[size]
    return partial(_fire, product, way, octets, stand.amount(whole, 2), library)


def _fire(product: Gateway, way: str, octets: int, number: int, library: Path | None) -> Shot:
    """In a process of its own, for what is preloaded counts from its start."""
    environ = product.environ | ({} if library is None else {"LD_PRELOAD": str(library)})
    flush()
    program = (sys.executable, "-m", "benchmarks.large_content_program", way, str(octets), str(number))
    found = json.loads(run((*program, str(product.directory)), environ))
    return Shot(found["rate"], {"p99 of 2 KB beside it, ms": found["p99"]})
