"""All that is looked at in AWS, in the order in which one thing stands on another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from gateway.aws.checks.access import CLOCK, CREDENTIALS, REGION, look_at_access
from gateway.aws.checks.account import ACCOUNT, QUOTA, SUPPRESSION_LIST, look_at_account, look_at_suppression_list
from gateway.aws.checks.asking import Desk, Situation
from gateway.aws.checks.certificates import look_at_certificates
from gateway.aws.checks.classic import NOTIFICATIONS, look_at_notifications
from gateway.aws.checks.configuration import (
    CONFIGURATION_SET,
    TRUST,
    destination_check,
    look_at_configuration,
    set_check,
)
from gateway.aws.checks.dns import Lookup, Question, look_at_dns
from gateway.aws.checks.identities import IDENTITIES, look_at_identities
from gateway.aws.checks.queues import (
    QUEUE,
    feedback_queue_arn,
    look_at_dead_letters,
    look_at_feedback_queue,
    look_at_queue_policy,
)
from gateway.aws.checks.subscriptions import look_at_subscriptions
from gateway.aws.checks.topics import look_at_topic
from gateway.aws.provisioning.plan import Found
from gateway.aws.session import Aws
from gateway.findings import Ledger, skipped

_WITHOUT_AWS: Final = (ACCOUNT, QUOTA, IDENTITIES, CONFIGURATION_SET, "topic", "subscription", SUPPRESSION_LIST)


def look_at_aws(
    ledger: Ledger,
    aws: Aws,
    situation: Situation,
    *,
    needs: tuple[str, ...] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    lookup: Callable[[Question], tuple[str, ...]] | None = None,
) -> None:
    """Put everything into the ledger. `needs` are checks of it without which AWS must not be asked."""
    topics = situation.trusted_topics
    place = look_at_access(ledger, aws, topics, now, needs=needs)
    if place is None:
        missing = ledger.missing([*needs, CREDENTIALS, REGION])
        ledger.add(*(skipped(check, f"needs {missing}") for check in _WITHOUT_AWS))
        return
    desk = Desk(aws, place, situation, now())
    look_at_account(ledger, desk)
    identities = look_at_identities(ledger, desk)
    look_at_dns(ledger, identities, is_simulated=situation.is_simulated, lookup=lookup or Lookup())
    sources = (
        look_at_configuration(ledger, desk)
        if situation.feedback == "configuration-set"
        else look_at_notifications(ledger, desk, identities)
    )
    _look_at_delivery(ledger, desk, sources)
    look_at_certificates(ledger, topics, situation.pinned_certificate)
    look_at_suppression_list(ledger, desk)


def _look_at_delivery(ledger: Ledger, desk: Desk, sources: dict[str, list[str]]) -> None:
    """From the topics on: what they deliver to."""
    queue = look_at_feedback_queue(ledger, desk)
    queue_arn = feedback_queue_arn(desk, queue)
    missing = ledger.missing(_origins(desk.situation))
    if missing is not None or not sources:
        because = f"needs {missing}" if missing else "no topic is known"
        ledger.add(skipped("topic", because), skipped("subscription", because))
        return
    webhooks: list[Found] = []
    reads_queue = False
    for arn, who in sources.items():
        deleted = look_at_topic(ledger, desk, arn, who)
        ours = look_at_subscriptions(ledger, desk, arn, queue_arn, deleted)
        webhooks += [one for one in ours.webhooks if one.attributes["Confirmed"]]
        reads_queue = reads_queue or bool(ours.queues)
    look_at_queue_policy(ledger, desk, queue, list(sources) if reads_queue else [])
    look_at_dead_letters(ledger, desk, webhooks, queue)


def _origins(situation: Situation) -> list[str]:
    """The checks on which the topics stand."""
    if situation.feedback == "identity":
        return [NOTIFICATIONS]
    sets = situation.configuration_sets
    return [CONFIGURATION_SET, *map(set_check, sets[:1]), *map(destination_check, sets[:1])]


_CHAIN: Final = (
    CLOCK,
    CONFIGURATION_SET,
    "event destination ",
    "notifications of ",
    TRUST,
    "topic ",
    "policy of ",
    "webhook at ",
    "subscription to ",
    "raw delivery ",
    QUEUE,
    "certificates of ",
    "signing certificate",
)


def is_in_the_chain(check: str) -> bool:
    """Whether no report of SES arrives while this check fails."""
    return check.startswith(_CHAIN)
