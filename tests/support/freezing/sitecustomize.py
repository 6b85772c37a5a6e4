"""Python imports it at the start of a program, where this directory is on its path: see `tests.support.garbage`."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

_freeze: Callable[[], None] = gc.freeze


def _told() -> None:
    _freeze()
    with Path(os.environ["TESTS_FROZEN"]).open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


gc.freeze = _told
