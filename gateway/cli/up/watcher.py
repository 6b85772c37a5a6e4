"""A circus watcher that waits longer each time, loses no last line, and leaves no grandchild."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from circus.stream import Redirector
from circus.watcher import Watcher

from gateway.cli.up import lifeline
from gateway.cli.up.children import Child
from gateway.cli.up.log import Lines, Log

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
LONGEST_DELAY_AFTER_SIGNAL = 2.0
STEADY_AFTER = 10.0
_BLOCK = 65536


class Backoff:
    """How long to wait before a child is started again: at once if it ran steadily, else twice as long each time."""

    def __init__(self) -> None:
        self._failures = 0

    def delay_after(self, lived: float, *, by_signal: bool = False) -> float:
        """The seconds to wait after a run of `lived` seconds.

        A child that a signal ended has no fault that it would meet again at once: it comes back sooner.
        """
        if lived >= STEADY_AFTER:
            self._failures = 0
            return 0.0
        longest = LONGEST_DELAY_AFTER_SIGNAL if by_signal else LONGEST_DELAY
        delay = min(FIRST_DELAY * 2.0**self._failures, longest)
        self._failures += 1
        return delay


class PipeReader(Redirector):  # type: ignore[misc]  # circus has no types
    """circus's reader of the children's pipes, which here is read to the end before it is let go.

    The last lines are the ones that say why a child ended.
    """

    def __init__(self, stdout: Any, stderr: Any, **options: Any) -> None:
        super().__init__(stdout, stderr, buffer=_BLOCK, **options)

    def remove_redirections(self, process: Any) -> None:
        for name, pipe in self.get_process_pipes(process):
            if not pipe.closed:
                self._read_rest(name, process, pipe.fileno())
        super().remove_redirections(process)

    def _read_rest(self, name: str, process: Any, fd: int) -> None:
        os.set_blocking(fd, False)
        try:
            while data := os.read(fd, _BLOCK):
                self.redirect[name]({"data": data, "pid": process.pid, "name": name})
        except BlockingIOError:
            pass  # A grandchild that left the process group holds the pipe open.


class ChildWatcher(Watcher):  # type: ignore[misc]  # circus has no types
    """Keeps one child alive. Every child leads a process group of its own (circus calls setsid)."""

    def __init__(self, child: Child, log: Log, **options: Any) -> None:
        arguments = ["-I", "-S", lifeline.__file__, str(os.getpid()), *child.argv]
        super().__init__(
            child.name,
            shlex.quote(sys.executable),
            args=arguments,
            env=dict(child.environ),
            priority=int(child.stage),  # circus starts the highest first: what the others stand on
            **options,
        )
        self.child = child
        self.killed = False
        self._log = log
        self._backoff = Backoff()
        self._not_before = 0.0
        self._lines: dict[str, Lines] = {"stdout": Lines(), "stderr": Lines()}
        self.stdout_stream = self.stderr_stream = self._write

    @property
    def _redirector_class(self) -> type[PipeReader]:
        return PipeReader

    @property
    def running(self) -> bool:
        return bool(self.get_active_processes())

    def kill_groups(self) -> None:
        """End the child and all that it started, at once."""
        for pid in list(self.processes):
            kill_group(pid)

    async def manage_processes(self) -> None:
        """Called twice a second by the arbiter: starts the child again when its time has come."""
        if self.processes or time.monotonic() >= self._not_before:
            await super().manage_processes()

    def spawn_process(self, recovery_wid: int | None = None) -> Any:
        started = super().spawn_process(recovery_wid)
        if started is not False:
            return started
        # fork failed; circus would give the child up for good. Anything but False lets it come back here.
        self._wait_before_restart(0, "could not be started")
        return True

    def reap_process(self, pid: int, status: int | None = None) -> None:
        process = self.processes.get(pid)
        if process is None:
            return
        # Its workers would go on holding its port.
        kill_group(pid)
        if self.stream_redirector:
            self.stream_redirector.remove_redirections(process)
        self._flush()
        code = _exit_code(process, status)
        super().reap_process(pid, status)
        self._note_end(code, process.age())

    async def kill_process(self, process: Any, *args: Any, **options: Any) -> Any:
        started = time.monotonic()
        ended = await super().kill_process(process, *args, **options)
        if time.monotonic() - started >= self.graceful_timeout:
            self.killed = True
        return ended

    def _note_end(self, code: int | None, lived: float) -> None:
        how = _spoken_end(code)
        if self.is_stopping() or self.is_stopped():
            self._log.write(self.name, how)
        else:
            self._wait_before_restart(lived, how, by_signal=code is not None and code < 0)

    def _wait_before_restart(self, lived: float, how: str, *, by_signal: bool = False) -> None:
        delay = self._backoff.delay_after(lived, by_signal=by_signal)
        self._not_before = time.monotonic() + delay
        when = "now" if not delay else f"in {delay:g} s"
        self._log.say(f"{self.name} {how} after {lived:.1f} s; it is started again {when}.")

    def _write(self, piece: dict[str, Any]) -> None:
        for line in self._lines[piece["name"]].feed(piece["data"]):
            self._log.write(self.name, line)

    def _flush(self) -> None:
        for lines in self._lines.values():
            for line in lines.flush():
                self._log.write(self.name, line)


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads or led; nothing when it is gone."""
    with suppress(ProcessLookupError, PermissionError):  # The latter is what macOS answers for a group of zombies.
        os.killpg(pid, signal.SIGKILL)


def _exit_code(process: Any, status: int | None) -> int | None:
    """How a dead child ended; None when somebody else has asked the kernel first."""
    if status is None and process.returncode() is None:
        # poll() would say 0 when circus has waited for it; a blocking wait is none, for it was just killed.
        try:
            status = os.waitpid(process.pid, 0)[1]
        except ChildProcessError:
            return None
    return int(process.returncode()) if status is None else os.waitstatus_to_exitcode(status)


def _spoken_end(code: int | None) -> str:
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
