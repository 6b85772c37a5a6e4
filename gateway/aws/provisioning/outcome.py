"""What the gateway must be told once AWS is wired: the lines for `.env`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.aws.provisioning.names import CLASSIC_KINDS, Names, Place
from gateway.aws.provisioning.options import Options

_WEAKER: Final = (
    "SESGATE_FEEDBACK=identity is the weaker mode: no Send events and no delays are reported, and mail in doubt cannot"
    " be settled by evidence. A configuration set (without --classic) is better where it can be had."
)


def topic_arns(options: Options, place: Place) -> list[str]:
    names = Names(options.scope, options.environment)
    chosen = [names.classic_topic(kind) for kind in CLASSIC_KINDS] if options.classic else [names.topic]
    return [place.arn("sns", name) for name in chosen]


def settings(options: Options, place: Place, queue_url: str | None) -> dict[str, str]:
    """Names and values as `.env` takes them. The database knows the topics; other databases must be told by name."""
    names = Names(options.scope, options.environment)
    lines = {"AWS_REGION": place.region}
    if options.classic:
        lines["SESGATE_FEEDBACK"] = "identity"
    else:
        lines["SESGATE_SES_CONFIGURATION_SET"] = names.configuration_set
    lines["SESGATE_SNS_TOPIC_ARNS"] = ",".join(topic_arns(options, place))
    if options.queue:
        lines["SESGATE_FEEDBACK_QUEUE_URL"] = queue_url or _queue_url(names, place)
    return lines


def _queue_url(names: Names, place: Place) -> str:
    """Before the queue exists: as AWS will call it."""
    suffix = "amazonaws.com.cn" if place.partition == "aws-cn" else "amazonaws.com"
    return f"https://sqs.{place.region}.{suffix}/{place.account}/{names.queue}"


def classic_warnings(options: Options, present: Iterable[str]) -> list[str]:
    """What to know about the weaker mode; `present` are all identities of the account."""
    if not options.classic:
        return []
    told = [_WEAKER]
    wired = {identity.lower() for identity in options.identities}
    own = sorted(
        name
        for name in present
        if "@" in name and name.lower() not in wired and name.rpartition("@")[2].lower() in wired
    )
    if own:
        told.append(
            f"{', '.join(own)}: an address that is an identity of its own does not use its domain's settings;"
            " give it as --identity, too, or its bounces are not reported."
        )
    return told


def missing_identities(options: Options, present: Iterable[str]) -> list[str]:
    """Those that are asked for and that the account does not have."""
    known = {name.lower() for name in present}
    return [identity for identity in options.identities if identity.lower() not in known]
