"""`sesgate doctor`: looks at every link between an application's mail and SES's report, and says what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from gateway.aws.checks.asking import PatientAws, Situation
from gateway.aws.checks.dns import Lookup, Question
from gateway.aws.checks.everything import is_in_the_chain, look_at_aws
from gateway.aws.session import Aws
from gateway.cli import doctor_local as local
from gateway.cli import doctor_store as stored
from gateway.cli.doctor_screen import show
from gateway.cli.errors import FAILED
from gateway.cli.help import example
from gateway.cli.output import show_json
from gateway.cli.progress import bar
from gateway.findings import Finding, Ledger, Level, failed, skipped
from gateway.queue_urls import endpoint_of
from gateway.sandbox.names import SIGNING_CERTIFICATE_FILE
from gateway.settings import Settings
from gateway.store.control import HEARD
from gateway.store.errors import StoreError
from gateway.store.schema import stamp_of_environment
from gateway.store.stores import Stores
from gateway.store.trusted_topics import trusted_topics

_LONGEST = 60.0
"""Seconds for all that is asked of AWS; it is mostly five."""
_A_CALL_EVERY = 1.0
_WITHOUT_DATABASE = (stored.DISPATCHER, "workers", "sending", "reports")


@dataclass(frozen=True, slots=True)
class Outside:
    """What doctor asks beyond this machine, for tests to put others in their place."""

    aws: Aws
    now: Callable[[], datetime]
    lookup: Callable[[Question], tuple[str, ...]]


@click.command(epilog=example("sesgate doctor", "sesgate doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="Print a list of findings as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Look at every link of this gateway and of AWS, and say what is broken and how to mend it.

    Nothing is changed, and no mail is sent (`sesgate prove` does that). It ends with 1 when something is broken;
    warnings are no failure.
    """
    # What a library or a store logs has no place in the report.
    with bar("Looking", None) as advance, redirect_stdout(sys.stderr):
        findings = examine(lambda _finding: advance(1))
    if as_json:
        show_json(findings)
    else:
        show(findings)
    if any(finding.level is Level.FAILED for finding in findings):
        context.exit(FAILED)


def examine(tell: Callable[[Finding], None], outside: Callable[[], Outside] | None = None) -> list[Finding]:
    """All findings; each is told as soon as it is made."""
    ground = Ledger(tell)
    settings = local.look_at_settings(ground)
    if settings is None:
        return list(ground.findings)
    local.look_at_disk(ground, settings)
    stores = stored.look_at_database(ground, settings)
    try:
        return _examine(tell, ground, settings, stores, (outside or _outside)())
    finally:
        if stores is not None:
            stores.close()


def _outside() -> Outside:
    interval = _A_CALL_EVERY if stamp_of_environment(os.environ) == "aws" else 0.0
    return Outside(PatientAws(interval=interval, seconds=_LONGEST), lambda: datetime.now(UTC), Lookup())


def _examine(
    tell: Callable[[Finding], None], ground: Ledger, settings: Settings, stores: Stores | None, outside: Outside
) -> list[Finding]:
    """This machine and AWS at the same time, for both are mostly waiting; then what came of it all."""
    webhook = local.ask_webhook(settings.webhook_listen)
    situation = _situation(settings, stores, webhook_is_well=all(webhook))
    here, cloud = Ledger(tell, known=ground.findings), Ledger(tell, known=ground.findings)
    with ThreadPoolExecutor(1, thread_name_prefix="aws") as pool:
        looking = pool.submit(_guarded, cloud, "AWS", lambda: _look_at_aws(cloud, ground, situation, outside))
        _guarded(here, "this machine", lambda: _look_here(here, settings, stores, outside.now(), webhook))
        looking.result()
    known = (*ground.findings, *here.findings, *cloud.findings)
    end = Ledger(tell, known=known)
    if stores is not None:
        links = [one.check for one in cloud.findings if is_in_the_chain(one.check)]
        causes = _failed(known, (*links, local.WEBHOOK, stored.READER))
        stored.look_at_reports(end, stores, situation.heard, causes, outside.now())
    return [*known, *end.findings]


def _look_at_aws(ledger: Ledger, ground: Ledger, situation: Situation, outside: Outside) -> None:
    """Not where the stamp is another: what the simulation was given is not asked of the real AWS, and the reverse."""
    needs = _failed(ground.findings, (stored.STAMP,))
    look_at_aws(ledger, outside.aws, situation, needs=tuple(needs), now=outside.now, lookup=outside.lookup)


def _guarded(ledger: Ledger, what: str, look: Callable[[], None]) -> None:
    """A look that fails in a way nobody thought of is a finding, too, and the others go on."""
    try:
        look()
    except Exception as error:  # noqa: BLE001  what an emulator or a broken machine answers is beyond any list
        fix = "This is a fault of doctor: please report it with this line. The checks after it were not made."
        ledger.add(failed(f"looking at {what}", f"it broke off: {type(error).__name__}: {error}", fix))


def _look_here(
    ledger: Ledger, settings: Settings, stores: Stores | None, now: datetime, webhook: tuple[bool, bool]
) -> None:
    if stores is None:
        missing = ledger.missing([stored.DATABASE, stored.SCHEMA, stored.STAMP])
        ledger.add(*(skipped(check, f"needs {missing}") for check in _WITHOUT_DATABASE))
    else:
        dispatcher = stored.look_at_dispatcher(stores.control, settings.dispatcher_lease.total_seconds())
        ledger.add(dispatcher)
        local.look_at_broker(ledger, settings, dispatches=dispatcher.level is Level.OK)
        stored.look_at_work(ledger, stores, settings)
    local.look_at_listeners(ledger, settings)
    local.look_at_certificate(ledger, settings, now)
    ledger.add(local.judge_webhook(settings, *webhook, database=stores is not None))


def _situation(settings: Settings, stores: Stores | None, *, webhook_is_well: bool) -> Situation:
    """As far as the database can tell; without it, what the settings say."""
    topics, sets, senders = (
        frozenset(settings.sns_topic_arns),
        [settings.ses_configuration_set],
        [settings.rewrite_from],
    )
    heard: dict[str, Any] = {}
    knows_topics = False
    if stores is not None:
        with suppress(StoreError):
            credentials = stores.credentials.all()
            sets += [one.configuration_set for one in credentials]
            senders += [sender for one in credentials for sender in one.senders]
            heard = stores.control.get(HEARD) or {}
            topics |= trusted_topics(stores.db)
            knows_topics = True
    simulated, queue = stamp_of_environment(os.environ) == "sandbox", settings.feedback_queue_url
    return Situation(
        feedback=settings.feedback,
        configuration_sets=_unique(sets),
        trusted_topics=topics,
        knows_topics=knows_topics,
        queue=queue,
        queue_is_elsewhere=queue is not None and endpoint_of(queue, os.environ) is not None,
        rewrite_from=settings.rewrite_from,
        senders=_unique(senders),
        heard=heard,
        pinned_certificate=settings.sandbox_directory / SIGNING_CERTIFICATE_FILE if simulated else None,
        webhook_is_well=webhook_is_well,
    )


def _unique(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def _failed(findings: Sequence[Finding], checks: Iterable[str]) -> list[str]:
    wanted = set(checks)
    return [finding.check for finding in findings if finding.check in wanted and finding.level is Level.FAILED]
