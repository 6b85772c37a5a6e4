"""Long work on a terminal: a bar while it runs, and an end between two steps when somebody asks for it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import Progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal; call what it gives with the steps that were made.

    Without a total, which nobody knows then, it shows that something goes on.
    """
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def ending_between_steps() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether the work shall end.

    Ctrl-C or SIGTERM asks for it, so that the step in hand is finished and can be told of. The second one ends the
    program at once.
    """
    asked = False
    before: dict[signal.Signals, Any] = {}

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        restore()

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    for each in _SIGNALS:
        before[each] = signal.signal(each, ask)
    try:
        yield lambda: asked
    finally:
        restore()
