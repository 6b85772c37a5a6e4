"""`sesgate suppressions import` in batches of three, which gets a signal at a step of its own: run by the tests.

Arguments: the signal, the method of the store that it interrupts, at which call, before or after it, and the file.
"""

from __future__ import annotations

import os
import signal
import sys

from gateway.cli import suppressions_import
from gateway.cli.main import main
from gateway.store.suppression_imports import SuppressionImports

BATCH = 3


def interrupt(name, method, call, when):
    original = getattr(SuppressionImports, method)
    calls = 0

    def interrupted(self, *arguments):
        nonlocal calls
        calls += 1
        if method == "carry_out_one":
            arguments = (*arguments, BATCH)
        if calls == call and when == "before":
            os.kill(os.getpid(), signal.Signals[name])
        result = original(self, *arguments)
        if calls == call and when == "after":
            os.kill(os.getpid(), signal.Signals[name])
        return result

    setattr(SuppressionImports, method, interrupted)


if __name__ == "__main__":
    name, method, call, when, file = sys.argv[1:]
    suppressions_import.STAGE_BATCH = BATCH
    interrupt(name, method, int(call), when)
    sys.argv = ["sesgate", "suppressions", "import", file]
    main()
