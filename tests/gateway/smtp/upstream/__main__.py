"""Fetch the tests of the locked aiosmtpd and run them: `python -m tests.gateway.smtp.upstream [PYTEST ARGUMENTS]`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
HERE = ROOT / "var" / "aiosmtpd-tests"
# The modules about the protocol. The others are about aiosmtpd's controllers, handlers, command and LMTP, none of
# which is ours or used here.
MODULES = ("test_smtp", "test_smtps", "test_smtpsmuggling", "test_starttls", "test_proxyprotocol")


def main(arguments: list[str]) -> int:
    locked = _locked()
    source = HERE / locked.split()[0].replace("==", "-")
    if not (source / "aiosmtpd").is_dir():
        _fetch(locked)
    tests = [str(source / "aiosmtpd" / "tests" / f"{module}.py") for module in MODULES]
    # Its own options for pytest are not taken over, nor are ours.
    empty = HERE / "pytest.ini"
    empty.write_text("[pytest]\nmarkers =\n    client_data\n    controller_data\n    handler_data\n")
    options = ["-c", str(empty), "--rootdir", str(source), "-q", "-p", "tests.gateway.smtp.upstream.plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", "--timeout", "60", *tests, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(HERE / "needs"), str(ROOT)))},
        cwd=HERE,
        check=False,
    ).returncode


def _locked() -> str:
    """aiosmtpd's requirement with its hashes, as it is locked."""
    found = re.search(r"^aiosmtpd==.*\n(?: +--hash=.*\n)+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("requirements.lock has no aiosmtpd.")
    return found[0]


def _fetch(locked: str) -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    with tempfile.TemporaryDirectory() as text:
        wanted = Path(text) / "requirements.txt"
        wanted.write_text(locked + "\n")
        options = ("--require-hashes", "--no-deps", "--no-build-isolation", "--no-binary", ":all:")
        subprocess.run([*pip, "download", *options, "--dest", text, "--requirement", str(wanted)], check=True)
        (archive,) = Path(text).glob("aiosmtpd-*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(HERE, filter="data")
    needs = Path(__file__).with_name("requirements.txt")
    options = ("--require-hashes", "--no-deps", "--target", str(HERE / "needs"), "--requirement", str(needs))
    subprocess.run([*pip, "install", *options], check=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
