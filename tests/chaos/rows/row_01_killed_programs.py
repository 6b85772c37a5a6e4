"""Row 1: random programs are killed with -9 under load, on either database."""

from __future__ import annotations

import time

from tests.chaos.book import Book, wait_for
from tests.chaos.client import Load
from tests.chaos.conclusion import conclude, settle
from tests.chaos.ledger import Ledger
from tests.chaos.nemesis import HandNemesis, UpNemesis
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import THREADS, build
from tests.support.by_hand import ByHand
from tests.support.installation import Installation
from tests.support.ports import free_port
from tests.support.waiting import until

_KILLS = {Tier.SHORT: 5, Tier.STANDARD: 40, Tier.LONG: 200}
_EVIDENCE = {Tier.SHORT: 3, Tier.STANDARD: 15, Tier.LONG: 60}  # seconds for events that are still on their way
_LEASES = {"SESGATE_CLAIM_LEASE": "10s", "SESGATE_DISPATCHER_LEASE": "3s", "SESGATE_DISPATCH_TIMEOUT": "3s"}
_PASSES = "L = 0, every acknowledged mail is sent, held or visibly failed; D = 0, for events carry the attempt id"


@scenario(
    "1",
    title="Children of `sesgate up --sandbox` killed with -9 under load: front, workers, webhook, Redis, even SES",
    passes=_PASSES,
    tiers={Tier.SHORT: 20, Tier.STANDARD: 110, Tier.LONG: 900},
)
def killed_children(run: Run) -> None:
    directory = run.directory / "var"
    installation = run.stack.enter_context(Installation(directory, **_LEASES))
    book = run.stack.enter_context(Book(directory))
    ledger = run.stack.enter_context(Ledger(run.directory / "ledger"))
    nemesis = UpNemesis(run, installation)
    with Load([installation.smtp_port], ledger, rate=25) as load:
        for _ in range(_KILLS[run.tier]):
            nemesis.strike()
            time.sleep(nemesis.chance.uniform(0.5, 1.5 if run.tier is Tier.SHORT else 3.0))
    nemesis.figures()
    run.figure("QUIT not answered by 221", load.unfriendly_ends)
    settle(run, book, 90)
    # What is left needs its event, and SNS delivers that again only after some time when the webhook was away.
    wait_for(lambda: not book.count("AMBIGUOUS"), _EVIDENCE[run.tier])
    conclude(run, ledger, until(installation.sent, seconds=30), book)


@scenario(
    "1-postgresql",
    title="Programs started by hand over PostgreSQL killed, ended and stopped at random: two fronts, three workers, "
    "a webhook, the holder of the dispatcher's lease, Redis",
    passes=_PASSES,
    tiers={Tier.STANDARD: 70, Tier.LONG: 400},
)
def killed_by_hand(run: Run) -> None:
    site = build(run, postgres=True, **_LEASES)
    programs = site.programs
    with programs.together():
        programs.smtp("smtp1")
        programs.smtp("smtp2")
        programs.webhook()
        programs.worker("worker1", *THREADS)
        programs.worker("worker2", *THREADS)
        programs.worker("worker3", "-c", "3")
    nemesis = HandNemesis(run, programs, site.book)
    with Load([programs.smtp_port], site.ledger, rate=25) as load:
        for _ in range(_KILLS[run.tier] // 2):
            nemesis.strike()
            time.sleep(nemesis.chance.uniform(0.2, 1.0))
    nemesis.figures()
    run.figure("QUIT not answered by 221", load.unfriendly_ends)
    settle(run, site.book, 90)
    wait_for(lambda: not site.book.count("AMBIGUOUS"), _EVIDENCE[run.tier])
    site.conclude()


@scenario(
    "several",
    title="Two fronts, three workers and two webhooks over one PostgreSQL, ended or killed in turn under load, "
    "and the server restarted",
    passes="L = 0, D = 0, no 5xx",
    tiers={Tier.STANDARD: 60, Tier.LONG: 360},
)
def several_of_everything(run: Run) -> None:
    site = build(run, postgres=True, **_LEASES)
    programs, second = site.programs, free_port()
    with programs.together():
        for name in ("smtp1", "smtp2"):
            programs.smtp(name)
        for name in ("worker1", "worker2", "worker3"):
            programs.worker(name, *THREADS)
        programs.webhook("webhook1")
        programs.webhook("webhook2", second)
    programs.subscribe(second)
    turns = 1 if run.tier is Tier.STANDARD else 6
    with Load([programs.smtp_port], site.ledger, rate=30) as load:
        for turn in range(turns):
            _restart_each(run, programs, kill=bool(turn % 2))
            if turn == turns // 2 and site.postgres is not None:
                run.say("PostgreSQL restarts")
                site.postgres.stop("fast")
                site.postgres.start()
            _restart_each(run, programs, kill=not turn % 2)
    run.figure("restarts", 2 * turns * 7)
    run.figure("QUIT not answered by 221", load.unfriendly_ends)
    settle(run, site.book, 90)
    wait_for(lambda: not site.book.count("AMBIGUOUS"), _EVIDENCE[run.tier])
    site.conclude()
    run.check("answered refused" not in run.figures, "no mail was refused for good")
    run.check(load.unfriendly_ends == 0, "every client that was answered could say QUIT")


def _restart_each(run: Run, programs: ByHand, *, kill: bool) -> None:
    for name in ("smtp1", "worker1", "webhook1", "smtp2", "worker2", "webhook2", "worker3"):
        if kill:
            programs.kill(name)
        else:
            code = programs.stop(name)
            run.check(code == 0, f"{name} ended with exit code {code} when it was asked to end")
        programs.again(name)
        run.say(f"{name} was {'killed' if kill else 'ended'} and started again")
