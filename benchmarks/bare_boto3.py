"""The peer of the drain: boto3 and nothing else, called from threads that have nothing else to do.

A program: it makes its client, says so, and begins when it is told to. One client for all threads, no retries, no user
agent put together for each call: as fast as boto3 can be without replacing parts of it.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.config import Config

from benchmarks.filling import mail_of
from benchmarks.frame import UnsoundError
from benchmarks.programs import ROOT, end
from gateway.credentials import ATTEMPT_TAG
from gateway.one_cpu import stay_on_one_cpu
from gateway.sandbox import names

_READY = "ready"
_ATTEMPT = "0" * 32


@click.command()
@click.option("--threads", type=int, required=True)
@click.option("--calls", type=int, required=True)
@click.option("--octets", type=int, required=True)
@click.option("--one-cpu", is_flag=True, help="Stay on one CPU, as the workers do.")
def main(threads: int, calls: int, octets: int, *, one_cpu: bool) -> None:
    """Call once to warm up, say so, wait for a line, and call."""
    if one_cpu:
        stay_on_one_cpu()
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=threads,
        user_agent="bare",
    )
    client = boto3.client("sesv2", config=config)
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    raw = mail_of(octets)
    _send(client, raw, 0)
    for number in range(calls):
        numbers.put(number)
    workers = [threading.Thread(target=_work, args=(client, raw, numbers)) for _ in range(threads)]
    click.echo(_READY)
    sys.stdin.readline()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(client: Any, raw: bytes, numbers: queue.SimpleQueue[int]) -> None:
    while True:
        try:
            number = numbers.get_nowait()
        except queue.Empty:
            return
        _send(client, raw, number)


def _send(client: Any, raw: bytes, number: int) -> None:
    """The call that a worker makes."""
    client.send_email(
        Destination={"ToAddresses": [f"to{number:08}@example.test"]},
        Content={"Raw": {"Data": raw}},
        EmailTags=[{"Name": ATTEMPT_TAG, "Value": _ATTEMPT}],
        ConfigurationSetName=names.CONFIGURATION_SET,
    )


class Callers:
    """The processes, which wait to be told."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def go(self) -> None:
        """All of them; returns when all calls are answered. UnsoundError when one was not."""
        for process in self._processes:
            assert process.stdin is not None  # noqa: S101  it was asked for
            process.stdin.write(b"go\n")
            process.stdin.flush()
        for process in self._processes:
            if code := process.wait(600):
                raise UnsoundError(f"bare boto3 ended with {code}")


@contextmanager
def waiting_callers(
    environ: Mapping[str, str], log: Path, options: tuple[str, ...], *, processes: int, calls: int
) -> Iterator[Callers]:
    """Processes that are ready to make so many calls together. `options` are those of the program."""
    with ExitStack() as stack:
        options = (*options, "--calls", str(calls // processes))
        started = [stack.enter_context(_caller(environ, log, options)) for _ in range(processes)]
        for process in started:
            assert process.stdout is not None  # noqa: S101  it was asked for
            if process.stdout.readline().decode().strip() != _READY:
                raise UnsoundError(f"bare boto3 did not start:\n{log.read_text()}")
        yield Callers(started)


@contextmanager
def _caller(environ: Mapping[str, str], log: Path, options: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            (sys.executable, "-m", "benchmarks.bare_boto3", *options),
            cwd=ROOT,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


if __name__ == "__main__":
    main()
