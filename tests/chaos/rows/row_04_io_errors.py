"""Row 4: the disk fails now and then, under load, for the front and for the worker.

A sync that fails is never tried again on the same descriptor: the kernel has forgotten by then what was not written.
SQLite writes with pwrite64 only, and syncs with fdatasync; the other calls of the kind are counted to show it.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.chaos.client import Load
from tests.chaos.conclusion import settle
from tests.chaos.ledger import Answer
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.chaos.syscalls import SYNCS, Strace, fail, need_strace, synced_again

_PHASES = {Tier.SHORT: 2, Tier.STANDARD: 12, Tier.LONG: 60}
_SECONDS = {Tier.SHORT: 2.5, Tier.STANDARD: 6.0, Tier.LONG: 10.0}
_MAILS_PER_SECOND = 40
_KINDS = (("fdatasync", "EIO", 6), ("pwrite64", "ENOSPC", 120), ("pwrite64", "EIO", 120))
"""What fails, with which error, and every how many calls at most."""


@scenario(
    "4",
    title="I/O errors: syncs and writes fail, at points and at random, in the front and in the worker",
    passes="each client affected reads 4xx or is cut off, nobody 5xx; no sync that failed is tried again; L = 0, D = 0",
    tiers={Tier.SHORT: 17, Tier.STANDARD: 110, Tier.LONG: 800},
)
def row_04(run: Run) -> None:
    need_strace()
    site = build(
        run,
        SESGATE_CLAIM_LEASE="10s",
        SESGATE_DISPATCH_TIMEOUT="2s",
        SESGATE_DISPATCHER_LEASE="3s",
        SESGATE_AMBIGUOUS_WAIT="5s",
    )
    start(site, workers=1)
    seed = random.randrange(1_000_000)
    run.figure("seed", seed)
    chance, failures = random.Random(seed), Counter[str]()
    for number in range(_PHASES[run.tier]):
        call, error, most = _KINDS[number % len(_KINDS)]
        when = f"{chance.randint(1, most)}+{chance.randint(most // 3, most)}"
        victims = ("smtp",) if run.tier is Tier.SHORT else ("smtp", "worker1")
        with (
            _tampered(site, victims, fail(call, error, when), failures),
            Load([site.programs.smtp_port], site.ledger, rate=_MAILS_PER_SECOND),
        ):
            time.sleep(_SECONDS[run.tier])
        told = Counter(answer.value for answer in site.ledger.read().values())
        run.say(f"{call} failed with {error} at {when}: {', '.join(f'{told[one]} {one}' for one in sorted(told))}")
    settle(run, site.book, 60, also=("AMBIGUOUS",))
    for what, count in sorted(failures.items()):
        run.figure(what, count)
    answers = Counter(site.ledger.read().values())
    run.check(answers[Answer.LATER] > 0, "the failures were felt by clients")
    run.check(not answers[Answer.REFUSED], f"nobody is told 5xx, but {answers[Answer.REFUSED]} were")
    for name in site.programs.running():
        run.check(not site.programs.has_ended(name), f"{name} outlives the failures")
    run.check("Traceback" not in site.programs.log("smtp"), "the front's log has no traceback")
    site.conclude()


@contextmanager
def _tampered(site: Site, victims: tuple[str, ...], expression: str, failures: Counter[str]) -> Iterator[None]:
    with ExitStack() as stack:
        straces = {
            name: stack.enter_context(
                Strace(
                    site.programs.pid(name),
                    site.run.directory / f"{name}.strace",
                    expression,
                    calls=(*SYNCS, "pwrite64", "pwritev", "rename", "close"),
                    paths=[site.programs.directory / f"sesgate.db{suffix}" for suffix in ("", "-wal", "-shm")],
                )
            )
            for name in victims
        }
        yield
    for name, strace in straces.items():
        calls = strace.calls()
        failures[f"failed calls of {name}"] += strace.injections
        failures["syncs"] += sum(call.name == "fdatasync" for call in calls)
        failures["other syncs and renames"] += sum(call.name in ("fsync", "rename") for call in calls)
        again = synced_again(calls)
        failures["syncs tried again"] += len(again)
        site.run.check(not again, f"{name} syncs again what failed to be synced: {[call.path for call in again]}")
