"""What most scenarios stand on: programs started by hand, their book, the clients' ledger, and a tap on the wire."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.book import Book
from tests.chaos.conclusion import conclude
from tests.chaos.ledger import Ledger
from tests.chaos.scenario import Run
from tests.chaos.tap import Tap
from tests.support.by_hand import ByHand
from tests.support.ports import free_port
from tests.support.postgres import Postgres, running_postgres

THREADS = ("-P", "threads", "-c", "8")


@dataclass(frozen=True)
class Site:
    """One installation of a scenario. Everything is ended with the run."""

    run: Run
    programs: ByHand
    book: Book
    ledger: Ledger
    tap: Tap | None = None
    postgres: Postgres | None = None

    def conclude(self, **more: dict[str, int]) -> None:
        conclude(self.run, self.ledger, self.programs.sent(), self.book, **more)


def build(
    run: Run,
    *,
    name: str = "var",
    postgres: bool = False,
    tapped: bool = False,
    keep_content: bool = False,
    by_hand: Callable[..., ByHand] = ByHand,
    **settings: str,
) -> Site:
    """Redis, the simulated AWS and a migrated database; no program of ours runs yet."""
    server = run.stack.enter_context(running_postgres()) if postgres else None
    url = server.url(server.new_database()) if server else ""
    directory = run.directory / name
    run.stack.callback(_keep_small, directory)
    port = free_port()
    if tapped:
        tap = run.stack.enter_context(Tap(f"http://127.0.0.1:{port}", keep_content=keep_content))
        settings["AWS_ENDPOINT_URL_SESV2"] = tap.url
    programs = by_hand(directory, url, mutant=run.mutant, sandbox_port=port, **settings)
    run.stack.enter_context(programs)
    book = run.stack.enter_context(Book(directory, url))
    ledger = run.stack.enter_context(Ledger(run.directory / f"{name}.ledger"))
    return Site(run, programs, book, ledger, tap if tapped else None, server)


def start(site: Site, *, workers: int = 2, options: tuple[str, ...] = THREADS, webhook: bool = True) -> None:
    """A front, workers, and a webhook, started side by side."""
    with site.programs.together():
        site.programs.smtp()
        for number in range(1, workers + 1):
            site.programs.worker(f"worker{number}", *options)
        if webhook:
            site.programs.webhook()


def _keep_small(directory: Path) -> None:
    """Of a failed run the logs and the database stay; the simulation's own files are large, and tell nothing more."""
    shutil.rmtree(directory / "sandbox", ignore_errors=True)
