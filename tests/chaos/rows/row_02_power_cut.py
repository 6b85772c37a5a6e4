"""Row 2: a power cut. What was acknowledged is on the disk, and the database opens as if nothing had happened.

The disk is a file. The front is stopped between two instructions, the ledger is read, and only then the file is copied:
the copy is what a machine would find after its power came back.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.chaos.client import Load
from tests.chaos.disks import Image
from tests.chaos.ledger import Answer, Ledger
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.whole import COUNT_HALVES
from tests.support.by_hand import ByHand

_ROUNDS = {Tier.STANDARD: 30, Tier.LONG: 150}
_CLIENTS = 8
_MAILS_PER_SECOND = 150
_IMAGE_MEBIBYTES = 1024


@scenario(
    "2",
    title="Power cut",
    passes="in every round the database opens without repair and has each mail that was acknowledged",
    tiers={Tier.STANDARD: 60, Tier.LONG: 600},
)
def row_02(run: Run) -> None:
    image = Image.made(run.directory / "disk.img", _IMAGE_MEBIBYTES)
    disk = run.stack.enter_context(image.mounted(run.directory / "disk"))
    front = run.stack.enter_context(
        ByHand(
            run.directory / "var",
            f"sqlite://{disk / 'mail.db'}",
            mutant=run.mutant,
            SESGATE_MIN_FREE_BYTES="16MiB",
        )
    )
    front.smtp()
    rounds, acknowledged, missing = _ROUNDS[run.tier], 0, set[str]()
    with (
        Ledger(run.directory / "ledger") as ledger,
        Load((front.smtp_port,), ledger, rate=_MAILS_PER_SECOND, clients=_CLIENTS),
    ):
        for number in range(1, rounds + 1):
            time.sleep(random.uniform(0.2, 1.0))
            with _stopped(front.pid("smtp")):
                promised = _acknowledged(ledger)
                cut = image.copied(run.directory / "cut.img")
            kept = _found(run, cut)
            acknowledged = len(promised)
            missing |= promised - kept
            run.say(f"round {number}: {acknowledged} acknowledged, {len(promised & kept)} of them recovered")
            cut.file.unlink()
    run.figure("power cuts", rounds)
    run.figure("acknowledged at the last", acknowledged)
    run.figure("lost", len(missing))
    run.check(not missing, f"{len(missing)} acknowledged mails were gone after a power cut")
    run.check(acknowledged > rounds, "mail was acknowledged between the power cuts")


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """Nothing is acknowledged meanwhile, and the disk does not change under the copy."""
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(pid, signal.SIGCONT)


def _acknowledged(ledger: Ledger) -> set[str]:
    return {mail for mail, answer in ledger.read().items() if answer is Answer.ACKNOWLEDGED}


def _found(run: Run, image: Image) -> set[str]:
    """The mails in the database on that disk; it fails the run when the database needs a repair."""
    with image.mounted(run.directory / "afterwards") as disk, closing(_opened(disk / "mail.db")) as connection:
        verdict = connection.execute("PRAGMA integrity_check(1)").fetchall()
        run.check(verdict == [("ok",)], f"the database is whole after the power cut: {verdict}")
        halves = connection.execute(COUNT_HALVES).fetchone()
        run.check(halves == (0,), f"no message is there by half after the power cut: {halves[0]}")
        return {str(row[0]) for row in connection.execute("SELECT address FROM recipients")}


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)
