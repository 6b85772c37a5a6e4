"""Row 5: the disk fills up. First slowly, and the front stops taking mail while there is room for sending what it has.

Then at once and to the last byte, as when another program writes: nothing can be stored or recorded for a while.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.book import Book, wait_for
from tests.chaos.client import Client, Load, addresses
from tests.chaos.conclusion import settle
from tests.chaos.disks import MIB, Ballast, tmpfs
from tests.chaos.ledger import Answer, Ledger
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, start
from tests.support.by_hand import ByHand

_DISK = 64  # MiB
_RESERVE = 16  # MiB
_LEFT = 3  # MiB above the reserve when the load begins
_FULL_SECONDS = 4.0
_ROUNDS = {Tier.STANDARD: 2, Tier.LONG: 12}
_RECOVERY = 30.0
_NAMES = addresses()
_SETTINGS: dict[str, Any] = {
    "SESGATE_MIN_FREE_BYTES": f"{_RESERVE}MiB",
    "SESGATE_CLAIM_LEASE": "10s",
    "SESGATE_DISPATCH_TIMEOUT": "2s",
    "SESGATE_DISPATCHER_LEASE": "3s",
    "SESGATE_AMBIGUOUS_WAIT": "5s",
}


@scenario(
    "5",
    title="Disk full and recovery: 64 MiB, filled slowly and then to the last byte",
    passes="452 while the reserve is kept, sending goes on, mail is taken again within 30 s without a restart, L = 0",
    tiers={Tier.STANDARD: 80, Tier.LONG: 600},
)
def row_05(run: Run) -> None:
    site, disk = _built(run)
    ballast = Ballast(disk / "ballast")
    start(site, workers=1)
    pids = {name: site.programs.pid(name) for name in site.programs.running()}
    for _ in range(_ROUNDS[run.tier]):
        _fill_slowly(site, disk, ballast)
        _fill_at_once(site, ballast)
    settle(run, site.book, 60, also=("AMBIGUOUS",))
    for name, pid in pids.items():
        run.check(not site.programs.has_ended(name) and site.programs.pid(name) == pid, f"{name} was not restarted")
    refused = site.ledger.replies(Answer.REFUSED)
    run.check(not refused, f"nobody is told 5xx, but {len(refused)} were")
    codes = Counter(text[:5] for text in site.ledger.replies(Answer.LATER).values())
    run.figure("enhanced codes of 4xx", ", ".join(f"{code} {count}" for code, count in sorted(codes.items())))
    run.check(set(codes) == {"4.3.1"}, f"everybody who is told to come later is told 4.3.1: {dict(codes)}")
    run.check("Traceback" not in site.programs.log("smtp"), "the front's log has no traceback")
    site.conclude()


def _built(run: Run) -> tuple[Site, Path]:
    """An installation with its database on a small disk, and everything else elsewhere."""
    disk = run.stack.enter_context(tmpfs(run.directory / "disk", _DISK))
    url = f"sqlite://{disk / 'mail.db'}"
    programs = run.stack.enter_context(ByHand(run.directory / "var", url, mutant=run.mutant, **_SETTINGS))
    book = run.stack.enter_context(Book(run.directory / "var", url))
    return Site(run, programs, book, run.stack.enter_context(Ledger(run.directory / "ledger"))), disk


def _fill_slowly(site: Site, disk: Path, ballast: Ballast) -> None:
    """Load until the front has no room any more; then what it took is sent, with the disk as it is."""
    run = site.run
    site.programs.sandbox.set_account(max_send_rate=20)  # slower than the load: mail is queued when the room is short
    ballast.leave((_RESERVE + _LEFT) * MIB)
    before = _turned_away(site)
    with Load([site.programs.smtp_port], site.ledger, rate=100, clients=8):
        took = wait_for(lambda: _turned_away(site) > before, 60)
    free = _free(disk)
    run.check(took is not None, "the front says 452 when there is no more room than its reserve")
    run.say(f"452 after {took} s, with {free / MIB:.1f} MiB free and {site.book.count('QUEUED')} mails queued")
    run.figure("MiB free at 452", free / MIB)
    run.check(free > _RESERVE * MIB / 2, f"the reserve is kept, and {free / MIB:.1f} of {_RESERVE} MiB is left")
    queued = site.book.count("QUEUED")
    run.check(queued > 0, "mail was queued when the room was short")
    site.programs.sandbox.set_account(max_send_rate=1000)
    settle(run, site.book, 90)
    run.figure("sent while short", queued)
    run.check(_hand_in(site) is Answer.LATER, "the front still has no room when all is sent")
    ballast.throw_off()
    _recover(site, "after 452")


def _fill_at_once(site: Site, ballast: Ballast) -> None:
    """To the last byte: now neither the front nor the worker nor the webhook can write."""
    with Load([site.programs.smtp_port], site.ledger, rate=60, clients=8):
        time.sleep(1)
        ballast.take_all()
        time.sleep(_FULL_SECONDS)
    ballast.throw_off()
    _recover(site, "after a full disk")


def _recover(site: Site, when: str) -> None:
    took = wait_for(lambda: _hand_in(site) is Answer.ACKNOWLEDGED, _RECOVERY, every=0.2)
    site.run.check(took is not None, f"mail is taken again within {_RECOVERY:.0f} s {when}")
    site.run.figure(f"seconds until mail is taken again {when}", -1.0 if took is None else took)


def _hand_in(site: Site) -> Answer:
    client = Client(site.programs.smtp_port, site.ledger)
    return client.hand_in(next(_NAMES))


def _turned_away(site: Site) -> int:
    return sum(answer is Answer.LATER for answer in site.ledger.read().values())


def _free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
