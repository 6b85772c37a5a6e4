"""`python -m tests.gateway.cli.dummies DIRECTORY DRAIN-TIMEOUT NAME=STAGE=BEHAVIOUR...`: a supervisor over dummies.

A child notes its process id in the directory, as `<name>.pids`, one a line for each start.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from gateway.cli.up.children import Child, Stage
from gateway.cli.up.log import Log
from gateway.cli.up.supervisor import Supervisor

_NOTE = """
import os, signal, subprocess, sys, time
def note(suffix, pid):
    with open(f"{sys.argv[1]}.{suffix}", "a") as file:
        file.write(f"{pid}\\n")
note("pids", os.getpid())
"""
_WAIT = """
while True:
    time.sleep(0.05)
"""
BEHAVIOURS = {
    "obedient": _NOTE
    + "signal.signal(signal.SIGTERM, lambda *_: (print('the last line', end=''), sys.exit(0)))\nprint('ready')"
    + _WAIT,
    "deaf": _NOTE + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')" + _WAIT,
    "crashing": _NOTE + "sys.stderr.write('x' * 5000 + '\\nthe reason\\n')\nsys.exit(3)\n",
    "parent": _NOTE
    + "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
    + "note('grandchildren', child.pid)\nprint('ready')"
    + _WAIT,
}


def main(directory: Path, drain_timeout: float, specifications: list[str]) -> int:
    children = []
    for specification in specifications:
        name, stage, behaviour = specification.split("=")
        argv = (sys.executable, "-u", "-c", BEHAVIOURS[behaviour], str(directory / name))
        children.append(Child(name, argv, dict(os.environ), Stage[stage]))
    log = Log(sys.stdout, [child.name for child in children], "console")

    async def announce() -> None:
        log.banner("the banner")

    return asyncio.run(Supervisor(children, log, drain_timeout).run(announce))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
