"""The command: `python -m tests.fuzz [TARGETS]`, FUZZ_SECONDS (600) each, and whole sessions for as long."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from tests.fuzz.corpus_files import COMMITTED, FOUND, ROOT
from tests.fuzz.mutator import FoundError, fuzz
from tests.fuzz.sessions import play
from tests.fuzz.targets import TARGETS

_TOOLS = ROOT / "var" / "fuzz" / "tools"
SESSIONS = "sessions"
_WELL = "Nothing found."
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(names: list[str]) -> int:
    wanted = names or [*TARGETS, SESSIONS]
    if unknown := [name for name in wanted if name not in TARGETS and name != SESSIONS]:
        print(f"There is no target named {', '.join(unknown)}; there are {', '.join(TARGETS)} and {SESSIONS}.")
        return 2
    seconds = int(os.environ.get("FUZZ_SECONDS", "600"))
    has_atheris = _has_atheris()
    engine = "libFuzzer" if has_atheris else "the engine of our own"
    if len(wanted) == 1:
        failed = [name for name in wanted if not _is_well(name, seconds, with_atheris=has_atheris)]
    else:
        print(f"{len(wanted)} targets, {seconds} s each, {_CORES} at a time, with {engine}.", flush=True)
        failed = _side_by_side(wanted)
    print(f"Failed: {', '.join(failed)}. The inputs are in {COMMITTED.relative_to(ROOT)}." if failed else _WELL)
    return 1 if failed else 0


def _side_by_side(names: list[str]) -> list[str]:
    """Each target in a process of its own, as many at a time as there are cores; those that failed."""

    def is_well(name: str) -> bool:
        done = subprocess.run(
            (sys.executable, "-m", "tests.fuzz", name), cwd=ROOT, capture_output=True, text=True, check=False
        )
        print((done.stdout + done.stderr).strip().removesuffix(_WELL).strip(), flush=True)
        return done.returncode == 0

    with ThreadPoolExecutor(_CORES) as pool:
        return [name for name, well in zip(names, pool.map(is_well, names), strict=True) if not well]


def _is_well(name: str, seconds: int, *, with_atheris: bool) -> bool:
    if name == SESSIONS:
        return _play(seconds)
    if with_atheris:
        return _under_libfuzzer(name, seconds)
    try:
        tried, kept = fuzz(name, TARGETS[name], seconds=seconds, seed=time.time_ns())
    except FoundError as found:
        print(f"{name}: {found}", flush=True)
        return False
    print(f"{name}: {tried} inputs, {kept} kept", flush=True)
    return True


def _play(seconds: int) -> bool:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        played = play(seconds=seconds, seed=time.time_ns())
    except AssertionError as found:
        print(f"{SESSIONS}: {found}", flush=True)
        return False
    print(f"{SESSIONS}: {played} sessions", flush=True)
    return True


def _has_atheris() -> bool:
    """Whether libFuzzer is there; it is fetched by its hash the first time, if there is a wheel for this machine."""
    if importlib.util.find_spec("atheris") is None and not _TOOLS.exists():
        wanted = Path(__file__).with_name("requirements.txt")
        pip = (
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
        )
        subprocess.run([*pip, "--require-hashes", "--target", str(_TOOLS), "-r", str(wanted)], check=False)
    return importlib.util.find_spec("atheris") is not None or (_TOOLS / "atheris").is_dir()


def _under_libfuzzer(name: str, seconds: int) -> bool:
    found, committed, words = FOUND / name, COMMITTED / name, FOUND.parent / f"{name}.dict"
    for directory in (found, committed):
        directory.mkdir(parents=True, exist_ok=True)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in TARGETS[name].words))
    options = (f"-max_total_time={seconds}", "-max_len=4096", "-timeout=5", f"-dict={words}", "-verbosity=0")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.with_atheris", name, *options, "-print_final_stats=1"),
            *(f"-artifact_prefix={committed}/", str(found), str(committed)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(_TOOLS), str(ROOT)))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    executed = next((line.split()[-1] for line in output.splitlines() if "number_of_executed_units" in line), "no")
    print(f"{name}: {executed} inputs", flush=True)
    if done.returncode:
        print(output[-4000:])
    return done.returncode == 0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
