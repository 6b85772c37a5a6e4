"""What a topic's messages are delivered to: our webhook, our queue, and how patiently."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, not_seen
from gateway.aws.checks.outside import look_from_outside, outside_check
from gateway.aws.checks.topics import short, topic_check
from gateway.aws.provisioning import hearing
from gateway.aws.provisioning.found import Reader
from gateway.aws.provisioning.plan import Found
from gateway.findings import Finding, Ledger, failed, ok, skipped, warning
from gateway.sns_endpoints import masked_endpoint

_WEBHOOK: Final = ("http", "https")
_PATH: Final = "/sns"
_DEPLOY: Final = 300
"""Seconds that a webhook may be away without a loss: its host may have to start anew."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ours:
    """The subscriptions of a topic that seem to lead to this gateway, and how many lead elsewhere."""

    webhooks: tuple[Found, ...]
    queues: tuple[Found, ...]
    others: tuple[Found, ...] = ()

    @property
    def all(self) -> tuple[Found, ...]:
        return (*self.webhooks, *self.queues)

    @property
    def confirmed(self) -> tuple[Found, ...]:
        return tuple(one for one in self.all if one.attributes["Confirmed"])


def subscription_check(arn: str) -> str:
    return f"subscription to {short(arn)}"


def raw_check(arn: str) -> str:
    return f"raw delivery of {short(arn)}"


def look_at_subscriptions(ledger: Ledger, desk: Desk, arn: str, queue_arn: str | None, deleted: int) -> Ours:
    """Those that lead here; none when they could not be seen.

    Where a webhook cannot be reached it cannot confirm either, so that is looked at first.
    """
    check = subscription_check(arn)
    missing = ledger.missing([topic_check(arn)])
    if missing is not None:
        ledger.add(skipped(check, f"needs {missing}"))
        return Ours((), ())
    try:
        ours = which_are_ours(Reader(desk.aws, desk.place).subscriptions(arn), queue_arn)
    except AwsCallError as error:
        ledger.add(not_seen(check, error))
        return Ours((), ())
    reached = _look_outside(ledger, desk, arn, ours)
    background = Background(desk.situation.heard, queue_arn, deleted)
    needs = () if ours.confirmed else reached
    ledger.check(check, lambda: judge_subscription(arn, ours, background), needs=needs)
    ledger.check(raw_check(arn), lambda: judge_raw(arn, ours.confirmed), needs=[check])
    if any(one in ours.webhooks for one in ours.confirmed):
        ledger.add(judge_patience(arn, ours))
    return ours


def _look_outside(ledger: Ledger, desk: Desk, arn: str, ours: Ours) -> list[str]:
    """The names of the checks. Where something is confirmed, what is not is perhaps a thing of the past."""
    situation, names = desk.situation, []
    last = last_message(arn, situation.heard)
    for one in (each for each in ours.webhooks if each.attributes["Confirmed"] or not ours.confirmed):
        endpoint = str(one.attributes["Endpoint"])
        heard_at = last if one.attributes["Confirmed"] else None
        look_from_outside(ledger, endpoint, is_well=situation.webhook_is_well, heard_at=heard_at, now=desk.now)
        names.append(outside_check(endpoint))
    return names


def which_are_ours(found: Sequence[Found], queue_arn: str | None) -> Ours:
    """A webhook is known by its path. Where none has that, each is taken for ours: a proxy may have renamed it."""
    webhooks = [one for one in found if one.attributes["Protocol"] in _WEBHOOK]
    named = [one for one in webhooks if urlsplit(str(one.attributes["Endpoint"])).path.endswith(_PATH)]
    mine = tuple(named or webhooks)
    queues = tuple(one for one in found if queue_arn is not None and one.attributes["Endpoint"] == queue_arn)
    return Ours(mine, queues, tuple(one for one in found if one not in mine and one not in queues))


@dataclass(frozen=True, slots=True)
class Background:
    """What is known beside the list: what was heard, the queue that is read here, subscriptions that were ended."""

    heard: Mapping[str, Any]
    queue_arn: str | None = None
    deleted: int = 0


def judge_subscription(arn: str, ours: Ours, background: Background) -> Finding:
    check = subscription_check(arn)
    if not ours.all:
        return _nobody(arn, ours, background)
    if not ours.confirmed:
        return _pending(arn, ours.all[0], background)
    pending = [one for one in ours.all if not one.attributes["Confirmed"]]
    seen = f"confirmed: {_endpoints(ours.confirmed)}{_last_heard(arn, background)}"
    if pending:
        return warning(
            check,
            f"{seen}; pending: {_endpoints(pending)}",
            "SNS forgets the pending one after three days. If it is wanted, see why its webhook does not confirm.",
        )
    if background.queue_arn is not None and not ours.queues:
        return warning(
            check,
            f"{seen}; the queue that is read here is not subscribed",
            f"aws sns subscribe --topic-arn {arn} --protocol sqs --notification-endpoint {background.queue_arn}",
        )
    filtered = [one for one in ours.confirmed if one.attributes.get("FilterPolicy")]
    if filtered:
        return warning(
            check,
            f"{seen}; a filter policy keeps messages from {_endpoints(filtered)}",
            f"aws sns set-subscription-attributes --subscription-arn {filtered[0].arn}"
            " --attribute-name FilterPolicy --attribute-value '{}'",
        )
    return ok(check, seen)


def _nobody(arn: str, ours: Ours, background: Background) -> Finding:
    ended = hearing.latest(_only(background.heard, "unsubscribed"), frozenset({arn}), _EPOCH)
    since = f"; it was ended, as the webhook was told at {_when(ended.at)}" if ended else ""
    if not ended and background.deleted:
        since = "; there was one, and it was ended"
    elsewhere = f" (others are: {_endpoints(ours.others)})" if ours.others else ""
    fix = "Run `sesgate provision --webhook-url https://YOUR-HOST/sns`; or with --queue where no public name is."
    if background.queue_arn is None and any(one.attributes["Protocol"] == "sqs" for one in ours.others):
        fix += " If one of those queues is this gateway's, set SESGATE_FEEDBACK_QUEUE_URL to it."
    return failed(subscription_check(arn), f"nothing of this gateway is subscribed{elsewhere}{since}", fix)


def _pending(arn: str, one: Found, background: Background) -> Finding:
    url = str(one.attributes["Endpoint"])
    if one.attributes["Protocol"] not in _WEBHOOK:
        return failed(
            subscription_check(arn),
            f"the subscription of {url} waits for its confirmation, as queues of other accounts do",
            "Confirm it in the account of the queue, or use a queue of the same account: `sesgate provision --queue`.",
        )
    heard = hearing.latest(background.heard, frozenset({arn}), _EPOCH)
    spoken = hearing.spoken(heard, url)
    at = f" ({_when(heard.at)})" if heard else ""
    return failed(
        subscription_check(arn),
        f"pending: SNS waits until {url} confirms; {spoken}{at}",
        f"{hearing.diagnosis(heard, url)} Then run `sesgate provision` again, which asks SNS for a new confirmation.",
    )


def _last_heard(arn: str, background: Background) -> str:
    last = last_message(arn, background.heard)
    return f"; the last message came {_when(last)}" if last else ""


def last_message(arn: str, heard: Mapping[str, Any]) -> datetime | None:
    """When the webhook, or else the reader of the queue, last took a message of this topic."""
    for program in ("webhook", "queue"):
        last = hearing.latest(_only({"webhook": heard.get(program)}, "notification"), frozenset({arn}), _EPOCH)
        if last is not None:
            return last.at
    return None


def _only(fact: Mapping[str, Any], kind: str) -> dict[str, Any]:
    told = fact.get("webhook")
    return {"webhook": {name: one for name, one in told.items() if name == kind} if isinstance(told, dict) else {}}


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _endpoints(found: Sequence[Found]) -> str:
    """SNS shows no password of a URL, but what answers in place of AWS may."""
    return ", ".join(masked_endpoint(str(one.attributes["Endpoint"])) for one in found)


def judge_raw(arn: str, confirmed: Sequence[Found]) -> Finding:
    raw = [one for one in confirmed if one.attributes.get("RawMessageDelivery") == "true"]
    if not raw:
        return ok(raw_check(arn), "off, as it must be")
    return failed(
        raw_check(arn),
        f"on for {_endpoints(raw)}: without the envelope there is no signature, and everything is refused",
        f"aws sns set-subscription-attributes --subscription-arn {raw[0].arn}"
        " --attribute-name RawMessageDelivery --attribute-value false",
    )


def judge_patience(arn: str, ours: Ours) -> Finding:
    """What SNS does while the webhook is away; a queue it fills for days in any case."""
    check = f"patience of {short(arn)}"
    hasty = [one for one in ours.webhooks if one in ours.confirmed and patience(one.attributes) < _DEPLOY]
    if not hasty:
        return ok(check, "SNS goes on trying while the webhook is away for a few minutes")
    return warning(
        check,
        f"SNS gives a message for {_endpoints(hasty)} up after {patience(hasty[0].attributes):.0f} s, sooner than a"
        " host is restarted",
        "Run `sesgate provision` again: it sets a delivery policy that goes on for most of an hour.",
    )


def patience(attributes: Mapping[str, Any]) -> float:
    """Seconds between the first try and the last, at least, as the policy in force has it; the default is 3 x 20 s.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
    """
    given = attributes.get("EffectiveDeliveryPolicy") or attributes.get("DeliveryPolicy") or {}
    whole = _json(given)
    policy = whole.get("healthyRetryPolicy") or (whole.get("http") or {}).get("defaultHealthyRetryPolicy") or {}
    least, most = float(policy.get("minDelayTarget", 20)), float(policy.get("maxDelayTarget", 20))
    retries = int(policy.get("numRetries", 3))
    at_once, early, late = (int(policy.get(f"num{kind}Retries") or 0) for kind in ("NoDelay", "MinDelay", "MaxDelay"))
    between = max(0, retries - at_once - early - late)
    return early * least + late * most + between * least


def _json(given: Any) -> dict[str, Any]:
    try:
        read = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
