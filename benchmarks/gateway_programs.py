"""The gateway as operators run it: its programs as processes, with all checks on and logs in files."""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from benchmarks.filling import fill_suppressions
from benchmarks.frame import SkippedError, Stand
from benchmarks.programs import run, running
from gateway.preflight import as_fact
from gateway.sandbox import names
from gateway.sandbox.environment import child_environment
from gateway.settings import Settings
from gateway.store.control import IDENTITIES
from gateway.store.stores import Stores, open_stores
from tests.support.environment import own_environment
from tests.support.ports import free_port
from tests.support.postgres import Postgres, running_postgres

SESGATE = (sys.executable, "-m", "gateway.cli")
CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "tasks")
SUPPRESSIONS = 100_000


class Gateway:
    """One installation. Nothing runs before it is asked for; AWS is a stub or an address where nobody listens."""

    def __init__(
        self, directory: Path, *, database_url: str = "", endpoint: str = "", fronts: int = 1, **settings: str
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.port, self.webhook_port = free_port(), free_port()
        self.suppressions = 0
        self._fronts = fronts
        self.settings = Settings(data_dir=directory, database_url=database_url)
        endpoint = endpoint or f"http://127.0.0.1:{free_port()}"
        aws = child_environment(endpoint, inherited={})
        self.environ = own_environment() | {name: value for name, value in aws.items() if value is not None}
        self.environ |= {
            "SESGATE_DATA_DIR": str(directory),
            "SESGATE_DATABASE_URL": database_url,
            "SESGATE_LISTENERS": f"127.0.0.1:{self.port}",
            "SESGATE_WEBHOOK_LISTEN": f"127.0.0.1:{self.webhook_port}",
            **settings,
        }

    def prepare(self, suppressions: int) -> None:
        """Migrate, and give the checks at the door something to do."""
        run((*SESGATE, "migrate"), self.environ)
        with self.stores() as stores:
            fill_suppressions(stores, suppressions)
        self.suppressions = suppressions

    @contextmanager
    def stores(self) -> Iterator[Stores]:
        stores = open_stores(self.settings)
        try:
            yield stores
        finally:
            stores.close()

    def renew_identities(self, stores: Stores) -> None:
        """As the dispatcher does once a minute: without it the front does not check senders."""
        stores.control.put(IDENTITIES, as_fact(["example.test"], others=0, region=names.REGION, at=time.time()))

    @contextmanager
    def smtp(self, preload: Path | None = None) -> Iterator[int]:
        """The front, by its process id; of several that share the port, the first."""
        environ = self.environ | ({} if preload is None else {"LD_PRELOAD": str(preload)})
        with ExitStack() as stack:
            fronts = [
                stack.enter_context(
                    running((*SESGATE, "smtp"), environ, self.directory / f"{name}.log", lambda log: "listening" in log)
                )
                for name in ("smtp", *(f"smtp{one}" for one in range(2, self._fronts + 1)))
            ]
            yield fronts[0].pid

    @contextmanager
    def workers(self, number: int, threads: int) -> Iterator[None]:
        """So many, as `sesgate up` starts them."""
        environ = self.environ | {"SESGATE_WORKER_THREADS": str(threads)}
        with ExitStack() as stack:
            for name in [f"worker{one + 1}" for one in range(number)]:
                stack.enter_context(self._worker(name, threads, environ))
            yield

    @contextmanager
    def _worker(self, name: str, threads: int, environ: dict[str, str]) -> Iterator[None]:
        options = ("worker", "-P", "threads", "-c", str(threads), "-n", f"{name}@%h", "--loglevel", "INFO")
        with running((*CELERY, *options), environ, self.directory / f"{name}.log", lambda log: " ready." in log):
            yield

    @contextmanager
    def web(self, argv: Sequence[str], name: str, port: int, path: str) -> Iterator[None]:
        """A web program that answers at this path once it is ready."""
        with running(argv, self.environ, self.directory / f"{name}.log", lambda _log: _answers(port, path)):
            yield

    def command(self, *arguments: str) -> str:
        return run((*SESGATE, *arguments), self.environ)


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return bool(response.status == 200)  # noqa: PLR2004  OK
    except OSError:
        return False


@contextmanager
def gateway(stand: Stand, *, name: str = "sesgate", endpoint: str = "", **settings: str) -> Iterator[Gateway]:
    """A gateway over the database that the plan names, migrated, with suppressions in it."""
    with nullcontext() if stand.plan.database == "sqlite" else postgres() as server:
        url = "" if server is None else server.url(server.new_database())
        fronts = stand.plan.fronts
        made = Gateway(stand.directory / name, database_url=url, endpoint=endpoint, fronts=fronts, **settings)
        made.prepare(stand.amount(SUPPRESSIONS, 100))
        yield made


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server of our own; SkippedError when PostgreSQL is not installed."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except BaseException as error:
            if type(error).__name__ not in {"Skipped", "Failed"}:
                raise
            raise SkippedError("PostgreSQL is not installed") from None
        yield server


def flush() -> None:
    """What one side left to be written is not to be written while the other one is timed."""
    os.sync()
