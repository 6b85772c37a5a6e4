"""Row 6: what was answered 4xx is never sent, not even when a crash makes the database look for lost commits.

The failures are put between the row and the reply: a sync that fails, a write that finds no room, a gate that stays
shut. After each every program that has the database open is killed, and the next start recovers what it can.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from pathlib import Path

from tests.chaos.book import Book
from tests.chaos.client import Client, addresses
from tests.chaos.conclusion import conclude, settle
from tests.chaos.ledger import Answer, Ledger
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import THREADS
from tests.chaos.syscalls import SYNCS, Strace, fail, need_strace, synced_again
from tests.support.by_hand import ByHand

_ROUNDS = {Tier.SHORT: 5, Tier.STANDARD: 40, Tier.LONG: 200}
_AT_ONCE = 4
_TAMPERING = (
    fail("fdatasync", "EIO", "1"),
    fail("fdatasync", "EIO", "2"),  # if everybody is in one transaction, it is the sync of the next
    fail("fdatasync", "EIO", "1..2"),
    fail("pwrite64", "ENOSPC", "3"),
    fail("pwrite64", "EIO", "5"),
    fail("pwrite64", "ENOSPC", "12+1"),
)


@scenario(
    "6",
    title="4xx means not delivered: failures between the row and the reply, and a crash after each",
    passes="nothing answered 4xx or 5xx is sent, nothing is answered 5xx, and L = 0",
    tiers={Tier.SHORT: 15, Tier.STANDARD: 90, Tier.LONG: 400},
)
def row_06(run: Run) -> None:
    need_strace()
    programs = run.stack.enter_context(ByHand(run.directory / "var", mutant=run.mutant, SESGATE_GATE_TIMEOUT="300ms"))
    ledger = run.stack.enter_context(Ledger(run.directory / "ledger"))
    programs.smtp()
    names, troubles = addresses(), _troubles(run, programs)
    for number, trouble in zip(range(1, _ROUNDS[run.tier] + 1), troubles, strict=False):
        _hand_in(programs, ledger, names, 1)
        with _onlooker(programs.directory / "sesgate.db"):
            with trouble():
                _hand_in(programs, ledger, names, _AT_ONCE)
            programs.kill("smtp")
        programs.again("smtp")
        run.say(f"round {number}: {_told(ledger)}")
    programs.worker("worker", *THREADS)
    book = run.stack.enter_context(Book(programs.directory))
    settle(run, book, 60)
    answers = Counter(ledger.read().values())
    run.check(answers[Answer.LATER] >= _ROUNDS[run.tier] // 2, "the failures were felt by clients")
    run.check(not answers[Answer.REFUSED], "nobody is told 5xx")
    run.check("Traceback" not in programs.log("smtp"), "the front's log has no traceback")
    conclude(run, ledger, programs.sent(), book)


def _troubles(run: Run, programs: ByHand) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """One after the other, for ever."""

    def tampered(expression: str) -> Callable[[], AbstractContextManager[None]]:
        return lambda: _tampered(run, programs, expression)

    each = [tampered(expression) for expression in _TAMPERING]
    return cycle([each[0], lambda: _shut_gate(programs.directory / "sesgate.db-gate"), *each[1:]])


_LOOKING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM recipients").fetchone()
print("looking", flush=True)
sys.stdin.read()
"""


@contextmanager
def _onlooker(database: Path) -> Iterator[None]:
    """Another program that has the database open, and is killed too.

    Without one the front, closing its last connection, would tidy up what a crash of the whole machine leaves.
    """
    argv = [sys.executable, "-c", _LOOKING, str(database)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"looking\n"
        try:
            yield
        finally:
            process.kill()


@contextmanager
def _tampered(run: Run, programs: ByHand, expression: str) -> Iterator[None]:
    with Strace(programs.pid("smtp"), run.directory / "strace", expression, calls=(*SYNCS, "close")) as strace:
        yield
    again = synced_again(strace.calls())
    run.check(not again, f"a descriptor whose sync failed is not synced again, but {[call.path for call in again]} was")


@contextmanager
def _shut_gate(gate: Path) -> Iterator[None]:
    """Another process writes, as it seems, until somebody was told to come later: after the front's patience."""
    descriptor = os.open(gate, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def _hand_in(programs: ByHand, ledger: Ledger, names: Iterator[str], mails: int) -> None:
    with ThreadPoolExecutor(mails, thread_name_prefix="client") as pool:
        each = [(Client(programs.smtp_port, ledger), next(names)) for _ in range(mails)]
        list(pool.map(lambda one: one[0].hand_in(one[1]), each))


def _told(ledger: Ledger) -> str:
    return ", ".join(f"{count} {answer}" for answer, count in sorted(Counter(ledger.read().values()).items()))
