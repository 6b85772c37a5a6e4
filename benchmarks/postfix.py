"""The peer of the accept paths: a Postfix in a directory of its own that accepts durably and delivers nothing.

Everything is put on HOLD: the queue file is written and synced as always, and no delivery runs beside it.
"""

from __future__ import annotations

import os
import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.frame import Shot, SkippedError, UnsoundError
from benchmarks.programs import run
from benchmarks.slow_sync import require_loaded
from tests.support.environment import own_environment
from tests.support.ports import free_port
from tests.support.waiting import until

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = peer.example.test
mydestination =
alias_maps =
smtpd_recipient_restrictions = check_client_access static:HOLD, permit_mynetworks, reject
# A receiver that delivers nothing must not be slowed down for delivering less than it receives.
in_flow_delay = 0
message_size_limit = 0
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
retry unix - - n - - error
error unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def find(name: str) -> str:
    """A program of Postfix; SkippedError without it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise SkippedError(f"{name} is not installed (on Debian it is in the package postfix)")
    return found


@cache
def version() -> str:
    """Postfix's, or an empty text where it is not installed."""
    try:
        return f"Postfix {run((find('postconf'), '-d', '-h', 'mail_version'), os.environ).strip()}"
    except SkippedError:
        return ""


class Postfix:
    """A running instance. `accepted` counts what it keeps, and forgets it, so that no round pays for another."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port

    def accepted(self) -> int:
        """How many messages it holds; they are removed."""
        held = sum(len(files) for _, _, files in os.walk(self.directory / "queue" / "hold"))
        if held:
            subprocess.run(
                (find("postsuper"), "-c", self.directory, "-d", "ALL", "hold"), capture_output=True, check=True
            )
        return held

    @property
    def master(self) -> int:
        """The process id of its master."""
        return int((self.directory / "queue" / "pid" / "master.pid").read_text())

    def require_preloaded(self, library: Path) -> None:
        """UnsoundError unless the daemon that syncs the files has the library. It runs once mail was received."""
        children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()
        cleanups = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "cleanup"]
        if not cleanups:
            raise UnsoundError("Postfix has no cleanup daemon")
        require_loaded(cleanups[0], library)


@contextmanager
def holding_postfix(directory: Path, preload: Path | None = None) -> Iterator[Postfix]:
    """Start one in that directory, and end it by its own command. SkippedError where that is not possible."""
    program = find("postfix")
    if os.geteuid() != 0:
        raise SkippedError("only root can start Postfix")
    # Its daemons run as another user, who must get to their queue, and to what is preloaded.
    directory.chmod(0o711)
    made = Postfix(directory / "postfix", free_port())
    _configure(made, preload)
    with _started(program, made, preload):
        yield made


def _configure(made: Postfix, preload: Path | None) -> None:
    for name in ("queue", "data"):
        (made.directory / name).mkdir(parents=True)
    shutil.chown(made.directory / "data", "postfix")
    main = _MAIN.format(directory=made.directory)
    if preload is not None:
        main += f"import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_PRELOAD={preload}\n"
    (made.directory / "main.cf").write_text(main)
    (made.directory / "master.cf").write_text(_MASTER.format(port=made.port))


@contextmanager
def _started(program: str, made: Postfix, preload: Path | None) -> Iterator[None]:
    environ = own_environment() | ({} if preload is None else {"LD_PRELOAD": str(preload)})
    command = (program, "-c", str(made.directory))
    with (made.directory / "output").open("wb") as output:
        started = subprocess.run((*command, "start"), env=environ, stdout=output, stderr=output, check=False)
    if started.returncode:
        raise UnsoundError(f"Postfix did not start: {(made.directory / 'output').read_text()}")
    try:
        until(lambda: _greets(made.port), what="Postfix answers")
        yield
    finally:
        master = made.master
        subprocess.run((*command, "stop"), capture_output=True, timeout=60, check=False)
        until(lambda: not Path(f"/proc/{master}").exists(), what="Postfix has ended")


def _greets(port: int) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=10):
            return True
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Load:
    """What Postfix's smtp-source sends. `keep`: over kept connections; else each message has one of its own."""

    messages: int
    octets: int
    sessions: int = 20
    keep: bool = True


def send(load: Load, port: int) -> Shot:
    """Send it all; messages a second. UnsoundError if a single one was not accepted."""
    options = ("-d",) if load.keep else ()
    command = (
        *(find("smtp-source"), *options, "-s", str(load.sessions), "-l", str(load.octets), "-m", str(load.messages)),
        *("-f", "a@example.test", "-t", "b@example.test", "-M", "client.example.test", f"127.0.0.1:{port}"),
    )
    began = time.perf_counter()
    run(command, os.environ, seconds=600)
    return Shot(load.messages / (time.perf_counter() - began))
