"""Starts a program that ends with the supervisor: `python lifeline.py PARENT-PID PROGRAM ARGUMENT...`.

Linux kills a process whose parent died when the process asked for it (prctl(2), PR_SET_PDEATHSIG), and the wish
outlives execve(2). So not even `kill -9` of the supervisor leaves a child behind. Systems without it run the program
just the same. Run as a file, with nothing but the standard library, because it runs once for each start of a child.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_NOT_FOUND = 127


def main(arguments: list[str]) -> None:
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before the line above.
        sys.exit(1)
    # Python ignores it, and an ignored signal stays ignored after exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(program[0], program)  # noqa: S606  no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{program[0]} cannot be started: {error.strerror}.\n")
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main(sys.argv[1:])
