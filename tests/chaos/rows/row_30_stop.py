"""Row 30: programs are asked to end, again and again, under load. What an upgrade does to rows and tasks is told in
`tests/gateway/store/test_upgrade.py`.
"""

from __future__ import annotations

import fcntl
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

from tests.chaos.book import Book
from tests.chaos.client import Load
from tests.chaos.conclusion import conclude, settle
from tests.chaos.ledger import Answer, Ledger
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build
from tests.support.installation import Installation
from tests.support.waiting import until

_TURNS_TAKEN = {Tier.STANDARD: 25, Tier.LONG: 100}  # with two programs each
_UPS = {Tier.STANDARD: 3, Tier.LONG: 10}
_LATENCY_MS = 1500  # of a call to SES: whoever is asked to end has one under way
_RATE = 8.0
_PASSES = "no session without a reply after its dot, no call left without its outcome, L = 0, D = 0"
_TURNS = (
    {"smtp1": signal.SIGTERM, "threads": signal.SIGTERM},
    {"smtp2": signal.SIGINT, "prefork": signal.SIGTERM},
    {"smtp1": signal.SIGTERM, "webhook": signal.SIGTERM},
    {"smtp2": signal.SIGTERM, "threads": signal.SIGINT},
    {"smtp1": signal.SIGINT, "prefork": signal.SIGINT},
)


@scenario(
    "30",
    title="SIGTERM and Ctrl-C under load: fronts, workers with threads and with processes, the webhook",
    passes=_PASSES,
    tiers={Tier.STANDARD: 160, Tier.LONG: 600},
)
def programs_are_asked_to_end(run: Run) -> None:
    site = build(run)
    with site.programs.together():
        site.programs.smtp("smtp1")
        site.programs.smtp("smtp2")  # shares the port: clients find one of them while the other is away
        site.programs.worker("threads", "-P", "threads", "-c", "8")
        site.programs.worker("prefork", "-P", "prefork", "-c", "4")
        site.programs.webhook()
    site.programs.sandbox.set_faults(latency_ms=_LATENCY_MS)
    longest: dict[str, float] = {}
    with Load([site.programs.smtp_port], site.ledger, rate=_RATE) as load:
        for number, turn in zip(range(_TURNS_TAKEN[run.tier]), cycle(_TURNS), strict=False):
            run.say(f"{number + 1}. " + ", ".join(f"{how.name} to {name}" for name, how in turn.items()))
            with _answers_owed(site), ThreadPoolExecutor() as pool:
                took = dict(zip(turn, pool.map(lambda one: _end(run, site, *one), turn.items()), strict=True))
            longest = {name: max(took.get(name, 0.0), longest.get(name, 0.0)) for name in took | longest}
            with site.programs.together():
                for name in turn:
                    site.programs.again(name)
    for name, seconds in longest.items():
        run.figure(f"longest end of {name} (s)", seconds)
    settle(run, site.book, 60, also=("AMBIGUOUS",))
    site.conclude()
    _check(run, load, site.ledger, site.book)


def _end(run: Run, site: Site, name: str, how: signal.Signals) -> float:
    """The seconds that it took."""
    asked = time.monotonic()
    code = site.programs.stop(name, how)
    # Celery's own code for a worker that drained after Ctrl-C is 1.
    fine = {0, 1} if how is signal.SIGINT and name in ("threads", "prefork") else {0}
    run.check(code in fine, f"{name} ended with exit code {code} after {how.name}")
    return time.monotonic() - asked


@contextmanager
def _answers_owed(site: Site) -> Iterator[None]:
    """The store is kept busy until a front drains: clients that have sent their dot wait for the reply meanwhile."""
    drained = _drains(site)
    with (site.programs.directory / "sesgate.db-gate").open("r+b") as gate, ThreadPoolExecutor(1) as pool:
        fcntl.flock(gate, fcntl.LOCK_EX)
        until(lambda: Answer.UNANSWERED in site.ledger.read().values(), what="a client waits for an answer")

        def let_go() -> None:
            try:
                until(lambda: _drains(site) > drained, what="the front drains")
            finally:
                fcntl.flock(gate, fcntl.LOCK_UN)

        ended = pool.submit(let_go)
        yield
        ended.result()


def _drains(site: Site) -> int:
    return sum(site.programs.log(name).count("smtp.draining") for name in ("smtp1", "smtp2"))


@scenario(
    "30-up",
    title="Ctrl-C of `sesgate up` under load, and a start over the same data",
    passes=_PASSES,
    tiers={Tier.STANDARD: 90, Tier.LONG: 300},
)
def everything_is_asked_to_end(run: Run) -> None:
    directory = run.directory / "up"
    ledger = run.stack.enter_context(Ledger(run.directory / "ledger"))
    with Installation(directory) as installation:
        installation.set_faults(latency_ms=_LATENCY_MS)
        with Load([installation.smtp_port], ledger, rate=_RATE) as load:
            for number in range(_UPS[run.tier]):
                until(lambda known=number: len(ledger.read()) > 10 * (known + 1), what="mail is handed in")
                code = installation.stop(signal.SIGINT)
                run.check(code == 0, f"`sesgate up` ended with exit code {code} after Ctrl-C")
                installation.start()
        with Book(directory) as book:
            settle(run, book, 60, also=("AMBIGUOUS",))
            conclude(run, ledger, installation.sent(), book)
            _check(run, load, ledger, book)


def _check(run: Run, load: Load, ledger: Ledger, book: Book) -> None:
    cut = ledger.replies(Answer.UNANSWERED)
    run.check(not cut, f"no session is cut after its dot without a reply, but for {len(cut)}: {list(cut.items())[:3]}")
    run.check(not load.unfriendly_ends, f"every QUIT is answered 221, but for {load.unfriendly_ends}")
    unknown = book.rows("SELECT count(*) FROM attempts WHERE outcome IS NULL OR outcome = 'ambiguous'")[0][0]
    run.check(unknown == 0, f"every call to SES was finished and written down, but for {unknown}")
