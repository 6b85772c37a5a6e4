"""The command `sesgate up`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from gateway.cli.context import load_settings
from gateway.cli.data_directory import locked, prepare
from gateway.cli.help import example
from gateway.cli.network import reachable
from gateway.cli.up.banner import banner
from gateway.cli.up.children import Child, child_environ, plan
from gateway.cli.up.log import Log
from gateway.cli.up.preflight import (
    addresses,
    check_addresses,
    check_aws,
    check_certificate,
    check_feedback_queue,
    check_stamp,
)
from gateway.cli.up.readiness import PATIENCE, probes, wait_until_ready
from gateway.cli.up.redis import OwnRedis, own_redis
from gateway.cli.up.supervisor import Supervisor
from gateway.sandbox.environment import child_environment
from gateway.settings import Settings
from gateway.store.schema import Stamp, migrate, stamp_of_environment


@click.command(epilog=example("sesgate up --sandbox"))
@click.option("--sandbox", is_flag=True, help="Send to the simulated AWS, which is started too; no account is needed.")
def command(sandbox: bool) -> None:
    """Run everything on this machine in the foreground: SMTP front, workers, webhook, metrics, Flower.

    A child that dies is started again. Without SESGATE_BROKER_URL a Redis is started too. The first Ctrl-C drains:
    what was accepted is finished or stays in the database for the next start. The second ends everything at once.
    """
    settings = load_settings()
    stamp: Stamp = "sandbox" if sandbox else stamp_of_environment(os.environ)
    check_stamp(settings, stamp)
    check_feedback_queue(settings, stamp)
    if not sandbox:
        check_aws(settings, os.environ)
    prepare(settings.data_dir)
    with locked(settings.data_dir):
        check_certificate(settings)
        check_addresses(addresses(settings, sandbox=sandbox))
        with own_redis(settings, os.environ.get("PATH")) as redis:
            migrate(settings.database, stamp)
            sys.exit(asyncio.run(_Up(settings, sandbox, redis, os.environ).run()))


@dataclass
class _Up:
    settings: Settings
    sandbox: bool
    redis: OwnRedis | None
    environ: Mapping[str, str]

    async def run(self) -> int:
        children = self._children()
        log = Log(sys.stdout, [child.name for child in children], self.settings.log_format)
        started = datetime.now(UTC)
        supervisor = Supervisor(children, log, self.settings.drain_timeout.total_seconds())
        return await supervisor.run(lambda: self._announce(log, started))

    def _children(self) -> tuple[Child, ...]:
        overrides = self._sandbox_environment() if self.sandbox else {}
        environ = child_environ(self.environ, self.settings, redis=self.redis, overrides=overrides)
        return plan(self.settings, environ, sandbox=self.sandbox, redis=self.redis)

    def _sandbox_environment(self) -> dict[str, str | None]:
        return child_environment(f"http://{reachable(self.settings.sandbox_listen)}", inherited=self.environ)

    async def _announce(self, log: Log, started: datetime) -> None:
        broker_url = self.redis.url if self.redis else self.settings.broker_url
        missing = await wait_until_ready(probes(self.settings, broker_url, sandbox=self.sandbox, since=started))
        for name in missing:
            log.say(f"{name} did not answer within {PATIENCE:.0f} s; the reason stands in its lines above.")
        log.banner(banner(self.settings, sandbox=self.sandbox, own_redis=self.redis is not None, missing=missing))
