"""The configuration sets that mail is sent with, and where they publish what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, not_seen
from gateway.aws.provisioning.found import Reader
from gateway.aws.provisioning.plan import Found
from gateway.findings import Finding, Ledger, Level, failed, ok, skipped, warning

CONFIGURATION_SET: Final = "configuration set"
TRUST: Final = "trust"

_NEEDED: Final = ("SEND", "DELIVERY", "BOUNCE", "COMPLAINT", "REJECT")
_USEFUL: Final = ("DELIVERY_DELAY", "RENDERING_FAILURE")
_PROVISION: Final = "Run `sesgate provision` again: it puts right what differs."


def set_check(name: str) -> str:
    return f"{CONFIGURATION_SET} {name}"


def destination_check(name: str) -> str:
    return f"event destination of {name}"


def look_at_configuration(ledger: Ledger, desk: Desk) -> dict[str, list[str]]:
    """The topics that sets publish to, each with the ARNs of the sets; trusted ones of no known set have none."""
    names = desk.situation.configuration_sets
    if not names:
        ledger.add(judge_no_set())
        return {}
    topics: dict[str, list[str]] = {}
    for name in names:
        for topic in _look_at_set(ledger, desk, name):
            topics.setdefault(topic, []).append(desk.place.arn("ses", f"configuration-set/{name}"))
    return topics


def judge_no_set() -> Finding:
    return failed(
        CONFIGURATION_SET,
        "SESGATE_SES_CONFIGURATION_SET is not set, so SES reports nothing of what is sent",
        "Set it to the name that `sesgate provision` printed, or set SESGATE_FEEDBACK=identity if you want that.",
    )


def _look_at_set(ledger: Ledger, desk: Desk, name: str) -> list[str]:
    """The topics of its destinations, as far as there is any use in looking at them."""
    reader = Reader(desk.aws, desk.place)
    topics: list[str] = []

    def destinations() -> Finding:
        try:
            found = reader.event_destinations(name)
        except AwsCallError as error:
            topics.extend(sorted(desk.situation.trusted_topics))
            return not_seen(destination_check(name), error)
        topics.extend(topics_of(found, desk.situation.trusted_topics))
        return judge_destinations(name, found, desk.situation.trusted_topics)

    ledger.check(set_check(name), lambda: _look_at_set_itself(reader, name))
    ledger.check(destination_check(name), destinations, needs=[set_check(name)])
    check = _trust_check(desk, name)
    if desk.situation.knows_topics:
        needs = [set_check(name), destination_check(name)]
        ledger.check(check, lambda: judge_trust(check, topics, desk.situation.trusted_topics), needs=needs)
    else:
        ledger.add(skipped(check, "needs database"))
    return topics


def _trust_check(desk: Desk, name: str) -> str:
    return TRUST if name == desk.situation.configuration_sets[0] else f"{TRUST} in the topic of {name}"


def _look_at_set_itself(reader: Reader, name: str) -> Finding:
    try:
        found = reader.configuration_set(name)
    except AwsCallError as error:
        return not_seen(set_check(name), error)
    return judge_set(name, found)


def judge_set(name: str, found: Found | None) -> Finding:
    if found is None:
        return failed(
            set_check(name),
            "there is no such set in this account and region: SES refuses mail that names it",
            "Set SESGATE_SES_CONFIGURATION_SET to one that exists; `sesgate provision` makes one and prints its name.",
        )
    if not found.attributes["SendingEnabled"]:
        return failed(
            set_check(name),
            "sending with this set is paused",
            f"aws sesv2 put-configuration-set-sending-options --configuration-set-name {name} --sending-enabled",
        )
    return ok(set_check(name), "it exists, and sending is enabled")


def topics_of(found: Sequence[Found], trusted: frozenset[str]) -> list[str]:
    """The topics of destinations that are on; those that are trusted, if there are any, for others have their own."""
    arns = [str(one.attributes["TopicArn"]) for one in _to_topics(found) if one.attributes["Enabled"]]
    ours = [arn for arn in arns if arn in trusted]
    return list(dict.fromkeys(ours or arns))


def _to_topics(found: Sequence[Found]) -> list[Found]:
    return [one for one in found if one.attributes.get("TopicArn")]


def judge_destinations(name: str, found: Sequence[Found], trusted: frozenset[str]) -> Finding:
    check, to_topics = destination_check(name), _to_topics(found)
    if not to_topics:
        seen = "none publishes to an SNS topic" if found else "there is none, so SES publishes nothing"
        return failed(check, seen, _PROVISION)
    ours = [one for one in to_topics if one.attributes["TopicArn"] in trusted] or to_topics
    enabled = [one for one in ours if one.attributes["Enabled"]]
    if not enabled:
        return failed(
            check, f"{_names(ours)} is disabled, so SES publishes nothing here", _how_to_enable(name, ours[0])
        )
    return _judge_types(check, enabled)


def _judge_types(check: str, used: Sequence[Found]) -> Finding:
    types = {str(kind) for one in used for kind in one.attributes["MatchingEventTypes"]}
    missing = [kind for kind in _NEEDED if kind not in types]
    fix = f"Add the event types to {_names(used)}. {_PROVISION}"
    if missing:
        return failed(check, f"SES does not report {', '.join(missing)}", fix)
    useful = [kind for kind in _USEFUL if kind not in types]
    if useful:
        return warning(check, f"SES does not report {', '.join(useful)}", fix)
    return ok(check, f"{_names(used)} reports {len(types)} kinds of events")


def _names(found: Sequence[Found]) -> str:
    return ", ".join(one.name for one in found)


def _how_to_enable(name: str, one: Found) -> str:
    return (
        f"aws sesv2 update-configuration-set-event-destination --configuration-set-name {name}"
        f" --event-destination-name {one.name} --event-destination Enabled=true; or `sesgate provision`."
    )


def judge_trust(check: str, topics: Sequence[str], trusted: frozenset[str]) -> Finding:
    """Whether what is published would be believed here."""
    unknown = [arn for arn in topics if arn not in trusted]
    if not topics:
        return skipped(check, "the topic is not known")
    if unknown:
        return failed(
            check,
            f"SES publishes to {unknown[0]}, which is not trusted here: its messages are refused",
            f"Set SESGATE_SNS_TOPIC_ARNS={unknown[0]}, or run `sesgate provision` with this database.",
        )
    return Finding(check, Level.OK, f"messages of {', '.join(arn.rpartition(':')[2] for arn in topics)} are believed")
