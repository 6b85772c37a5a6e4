"""Scenario "sync": the disk is asked to keep a mail before its client reads 250, as the system calls show it."""

from __future__ import annotations

from tests.chaos.book import Book
from tests.chaos.client import Client, addresses
from tests.chaos.conclusion import conclude, settle
from tests.chaos.ledger import Ledger
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import THREADS
from tests.chaos.syscalls import SYNCS, Strace, need_strace
from tests.support.by_hand import ByHand

_MAILS = 20


@scenario(
    "sync",
    title="One mail after the other, with the front's system calls written down",
    passes="at least one fdatasync of the write-ahead log for each 250",
    tiers={Tier.STANDARD: 10, Tier.LONG: 20},
)
def synced(run: Run) -> None:
    need_strace()
    programs = run.stack.enter_context(ByHand(run.directory / "var", mutant=run.mutant))
    ledger = run.stack.enter_context(Ledger(run.directory / "ledger"))
    programs.smtp()
    client = Client(programs.smtp_port, ledger, mails_per_connection=_MAILS)
    with Strace(programs.pid("smtp"), run.directory / "strace", calls=tuple(SYNCS)) as strace:
        for address, _ in zip(addresses(), range(_MAILS), strict=False):
            client.hand_in(address)
    syncs = sum(call.path.endswith("-wal") for call in strace.calls())
    run.figure("syncs of the write-ahead log", syncs)
    run.check(syncs >= _MAILS, f"{_MAILS} mails were acknowledged after {syncs} syncs of the write-ahead log")
    programs.worker("worker", *THREADS)
    book = run.stack.enter_context(Book(programs.directory))
    settle(run, book, 60)
    conclude(run, ledger, programs.sent(), book)
