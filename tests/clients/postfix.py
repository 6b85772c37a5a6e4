"""A Postfix of a test's own: its configuration, queue and log are in one directory, and it ends with the test."""

from __future__ import annotations

import os
import shutil
import smtplib
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests.clients.programs import missing, program
from tests.support.ports import free_port
from tests.support.waiting import until

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = /dev/stdout
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = erp.example.org
mydestination =
alias_maps =
smtp_dns_support_level = disabled
smtp_host_lookup = native
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
smtp unix - - n - - smtp
retry unix - - n - - error
error unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """`with Postfix(settings) as postfix:` relays what it is given as those lines of main.cf say."""

    def __init__(self, settings: str, files: dict[str, str]) -> None:
        """Each of the `files`, by name, stands beside the configuration; DIRECTORY in `settings` is where."""
        self._program = program("postfix")
        if not any(Path("/usr").glob("lib*/**/sasl2/libplain.so*")):
            missing("the SASL mechanism PLAIN is not installed")
        if os.geteuid() != 0:
            pytest.skip("only root can start Postfix")
        self.port = free_port()
        # Its daemons run as another user, who cannot enter the directories of pytest.
        self.directory = Path(tempfile.mkdtemp(prefix="postfix-", dir="/tmp"))
        self.directory.chmod(0o755)
        for name in ("queue", "data"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        main = _MAIN.format(directory=self.directory) + settings.replace("DIRECTORY", str(self.directory))
        for name, text in {"main.cf": main, "master.cf": _MASTER.format(port=self.port), **files}.items():
            (self.directory / name).write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                (self._program, "-c", self.directory, "start-fg"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._answers, what="Postfix answers")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            # Its master is in a session of its own, and is left by whoever ends the program that started it.
            subprocess.run((self._program, "-c", self.directory, "stop"), capture_output=True, timeout=60, check=True)
            self._process.wait(timeout=60)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.directory / "log"

    def send(self, sender: str, recipients: tuple[str, ...], content: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            assert client.sendmail(sender, recipients, content, ["BODY=8BITMIME"]) == {}

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=10):
                return True
        except OSError:
            return False
