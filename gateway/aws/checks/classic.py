"""The weaker mode, SESGATE_FEEDBACK=identity: where identities send their notifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, not_seen
from gateway.aws.checks.identities import Details
from gateway.aws.provisioning.found import Reader
from gateway.findings import Finding, Ledger, failed, ok, warning

NOTIFICATIONS: Final = "notifications of identities"
_NEEDED: Final = ("Bounce", "Complaint")
_PROVISION: Final = "Run `sesgate provision --classic --identity {name}` again: it puts right what differs."


def look_at_notifications(ledger: Ledger, desk: Desk, identities: Sequence[Details]) -> dict[str, list[str]]:
    """The topics that identities report to, each with the ARNs of the identities."""
    try:
        found = list(Reader(desk.aws, desk.place).notifications([one.name for one in identities]))
    except AwsCallError as error:
        ledger.add(not_seen(NOTIFICATIONS, error))
        return {}
    wired = [one for one in found if any(one.attributes.get(f"{kind}Topic") for kind in _NEEDED)]
    if not wired:
        ledger.add(judge_none_wired([one.name for one in identities]))
        return {}
    topics: dict[str, list[str]] = {}
    trusted = desk.situation.trusted_topics if desk.situation.knows_topics else None
    for one in wired:
        ledger.add(judge_notifications(one.name, one.attributes, trusted))
        for arn in filter(None, (one.attributes.get(f"{kind}Topic") for kind in (*_NEEDED, "Delivery"))):
            topics.setdefault(str(arn), []).append(desk.place.arn("ses", f"identity/{one.name}"))
    return topics


def judge_none_wired(names: Sequence[str]) -> Finding:
    name = names[0] if names else "example.com"
    return failed(
        NOTIFICATIONS,
        "no identity reports bounces and complaints to a topic",
        f"Run `sesgate provision --classic --identity {name}`; or unset SESGATE_FEEDBACK and use a configuration set.",
    )


def judge_notifications(name: str, attributes: Mapping[str, Any], trusted: frozenset[str] | None) -> Finding:
    """`trusted` is None when the database could not be asked."""
    check, fix = f"notifications of {name}", _PROVISION.format(name=name)
    missing = [kind for kind in _NEEDED if not attributes.get(f"{kind}Topic")]
    if missing:
        return failed(check, f"there is no topic for {' and '.join(kind.lower() + 's' for kind in missing)}", fix)
    set_topics = {kind: str(arn) for kind in (*_NEEDED, "Delivery") if (arn := attributes.get(f"{kind}Topic"))}
    strange = [] if trusted is None else [arn for arn in set_topics.values() if arn not in trusted]
    if strange:
        return failed(
            check,
            f"they go to {strange[0]}, which is not trusted here: its messages are refused",
            f"Add {strange[0]} to SESGATE_SNS_TOPIC_ARNS, or: {fix}",
        )
    without = [kind for kind in set_topics if not attributes.get(f"HeadersIn{kind}NotificationsEnabled")]
    if without:
        return warning(
            check,
            f"without the mail's headers for {', '.join(without)}, which say which attempt a report is about",
            fix,
        )
    if "Delivery" not in set_topics:
        return warning(check, "deliveries are not reported, so mail stays SENT", fix)
    if attributes.get("ForwardingEnabled"):
        return warning(check, "bounces are mailed to the sender, too (feedback forwarding is on)", fix)
    return ok(check, "bounces, complaints and deliveries go to trusted topics, with headers")
