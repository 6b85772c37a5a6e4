"""The same wiring as Terraform. Pure: a text that `terraform fmt` leaves as it is.

No tag of ours is on it: what Terraform made, Terraform removes, and `sesgate provision --destroy` leaves it alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.aws.provisioning.names import EVENT_DESTINATION, Names, Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.wanted import Kind, Resource, wanted

_PLACE: Final = Place("${local.account}", "${local.region}", "${local.partition}")

_HEAD: Final = """\
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.id
}
"""


@dataclass(frozen=True, slots=True)
class Expression:
    """HCL that is no text."""

    text: str


def terraform(options: Options) -> str:
    """All of it, for whichever account and region Terraform is run in."""
    resources = wanted(options, _PLACE)
    blocks = [_comment(resources), _HEAD, *_variables(options)]
    blocks += [
        _block(_labels(options, each), _body(options, each)) for each in resources if each.kind is not Kind.TRUST
    ]
    blocks += [text for each in resources if each.kind is Kind.IDENTITY for text in _identity(each)]
    return "\n".join([*(block for block in blocks if block), *_outputs(options)])


def _comment(resources: Sequence[Resource]) -> str:
    topics = ",".join(f"arn:aws:sns:REGION:ACCOUNT:{each.name}" for each in resources if each.kind is Kind.TOPIC)
    return (
        "# Made by `sesgate provision --output terraform`. The gateway refuses topics it was not told of, so set,\n"
        "# with your region and account, and start it, before this is applied:\n"
        f"# SESGATE_SNS_TOPIC_ARNS={topics}\n"
    )


def _variables(options: Options) -> list[str]:
    if not _has_password(options):
        return []
    body = {"type": Expression("string"), "sensitive": True, "description": "https://user:password@host/sns"}
    return [_block('variable "webhook_url"', body)]


def _has_password(options: Options) -> bool:
    return options.webhook_url is not None and "@" in urlsplit(options.webhook_url).netloc


_TYPES: Final = {
    Kind.TOPIC: "aws_sns_topic",
    Kind.QUEUE: "aws_sqs_queue",
    Kind.CONFIGURATION_SET: "aws_sesv2_configuration_set",
    Kind.EVENT_DESTINATION: "aws_sesv2_configuration_set_event_destination",
    Kind.SUBSCRIPTION: "aws_sns_topic_subscription",
}
"""Of these there is one block for each resource; an identity's settings are several."""


def _labels(options: Options, resource: Resource) -> str:
    return f'resource "{_TYPES[resource.kind]}" "{_label(options, resource)}"' if resource.kind in _TYPES else ""


def _label(options: Options, resource: Resource) -> str:
    names = Names(options.scope, options.environment)
    if resource.kind is Kind.TOPIC:
        return _topic_label(resource.name, names)
    if resource.kind is Kind.SUBSCRIPTION:
        topic = _topic_label(resource.parent.rpartition(":")[2], names)
        return f"{topic}_{'queue' if resource.attributes['Protocol'] == 'sqs' else 'webhook'}"
    return "dead" if resource.name == names.dead_queue else "feedback"


def _topic_label(name: str, names: Names) -> str:
    return "feedback" if name == names.topic else name.removeprefix("ses-").removesuffix(f"-topic-{names.environment}")


def _body(options: Options, resource: Resource) -> Mapping[str, Any]:
    names = Names(options.scope, options.environment)
    given = resource.attributes
    match resource.kind:
        case Kind.TOPIC:
            return {
                "name": resource.name,
                "signature_version": Expression(given["SignatureVersion"]),
                "policy": _encoded(given["Policy"]),
            }
        case Kind.QUEUE:
            return _queue(resource)
        case Kind.CONFIGURATION_SET:
            return {"configuration_set_name": resource.name, "sending_options": {"sending_enabled": True}}
        case Kind.EVENT_DESTINATION:
            return {
                "configuration_set_name": Expression("aws_sesv2_configuration_set.feedback.configuration_set_name"),
                "event_destination_name": EVENT_DESTINATION,
                "event_destination": {
                    "enabled": given["Enabled"],
                    "matching_event_types": given["MatchingEventTypes"],
                    "sns_destination": {"topic_arn": _topic_arn(_topic_label(names.topic, names))},
                },
            }
        case Kind.SUBSCRIPTION:
            return _subscription(options, resource, names)
        case _:
            return {}


def _queue(resource: Resource) -> Mapping[str, Any]:
    given = resource.attributes
    body: dict[str, Any] = {
        "name": resource.name,
        "message_retention_seconds": Expression(given["MessageRetentionPeriod"]),
        "receive_wait_time_seconds": Expression(given["ReceiveMessageWaitTimeSeconds"]),
        "visibility_timeout_seconds": Expression(given["VisibilityTimeout"]),
    }
    if "Policy" in given:
        body["policy"] = _encoded(given["Policy"])
    if "RedrivePolicy" in given:
        receives = given["RedrivePolicy"]["maxReceiveCount"]
        body["redrive_policy"] = _encoded({"deadLetterTargetArn": _DEAD, "maxReceiveCount": receives})
    return body


_DEAD: Final = Expression("aws_sqs_queue.dead.arn")


def _subscription(options: Options, resource: Resource, names: Names) -> Mapping[str, Any]:
    topic = _topic_arn(_topic_label(resource.parent.rpartition(":")[2], names))
    given = resource.attributes
    body: dict[str, Any] = {"topic_arn": topic, "protocol": given["Protocol"]}
    if given["Protocol"] == "sqs":
        return body | {"endpoint": Expression("aws_sqs_queue.feedback.arn"), "raw_message_delivery": False}
    return body | {
        "endpoint": Expression("var.webhook_url") if _has_password(options) else resource.endpoint,
        "endpoint_auto_confirms": True,
        "raw_message_delivery": False,
        "delivery_policy": _encoded(given["DeliveryPolicy"]),
        "redrive_policy": _encoded({"deadLetterTargetArn": _DEAD}),
    }


def _topic_arn(label: str) -> Expression:
    return Expression(f"aws_sns_topic.{label}.arn")


def _identity(resource: Resource) -> list[str]:
    """Forwarding ends by a resource of its own, once the topics stand."""
    label = _identity_label(resource.name)
    made = []
    for kind, topic in (("Bounce", "bounces"), ("Complaint", "complaints"), ("Delivery", "deliveries")):
        body = {
            "identity": resource.name,
            "notification_type": kind,
            "topic_arn": _topic_arn(topic),
            "include_original_headers": True,
        }
        made.append(_block(f'resource "aws_ses_identity_notification_topic" "{label}_{topic}"', body))
    forwarding = {
        "email_identity": resource.name,
        "email_forwarding_enabled": False,
        "depends_on": [
            Expression(f"aws_ses_identity_notification_topic.{label}_{topic}") for topic in ("bounces", "complaints")
        ],
    }
    return [*made, _block(f'resource "aws_sesv2_email_identity_feedback_attributes" "{label}"', forwarding)]


def _identity_label(identity: str) -> str:
    """An identifier of HCL, another one for each identity: a domain may begin with a digit, and have a hyphen."""
    readable = identity.replace("_", "__").replace("@", "_at_").replace(".", "_")
    label = "".join(
        each if (each.isascii() and each.isalnum()) or each in "_-" else f"_{ord(each):x}_" for each in readable
    )
    return label if label[0].isalpha() else f"_{label}"


def _outputs(options: Options) -> list[str]:
    names = Names(options.scope, options.environment)
    topics = [each.name for each in wanted(options, _PLACE) if each.kind is Kind.TOPIC]
    values: dict[str, Any] = {
        "SESGATE_SNS_TOPIC_ARNS": Expression(
            'join(",", [' + ", ".join(_topic_arn(_topic_label(name, names)).text for name in topics) + "])"
        )
    }
    if not options.classic:
        values["SESGATE_SES_CONFIGURATION_SET"] = names.configuration_set
    if options.queue:
        values["SESGATE_FEEDBACK_QUEUE_URL"] = Expression("aws_sqs_queue.feedback.url")
    return [_block(f'output "{name}"', {"value": value}) for name, value in values.items()]


# How HCL is written, as `terraform fmt` writes it

_Json = Mapping[str, Any]


def _encoded(value: _Json) -> Expression:
    return Expression(f"jsonencode({_written(value)})")


def _block(labels: str, body: Mapping[str, Any]) -> str:
    if not labels:
        return ""
    return "\n".join([f"{labels} {{", *_members(body, blocks=True), "}", ""])


def _members(body: Mapping[str, Any], *, blocks: bool) -> list[str]:
    """`name = value` with the equals signs of neighbours in one column; a value of several lines ends a column."""
    lines: list[str] = []
    column: list[tuple[str, str]] = []
    for name, value in body.items():
        if blocks and isinstance(value, Mapping):
            lines += [*_aligned(column), *_nested(name, value, is_first=not (lines or column))]
            column = []
            continue
        text = _written(value)
        column.append((name if blocks else _key(name), text))
        if "\n" in text:
            lines += _aligned(column)
            column = []
    return [f"  {line}" if line else "" for line in [*lines, *_aligned(column)]]


def _nested(name: str, body: Mapping[str, Any], *, is_first: bool) -> list[str]:
    return [*([] if is_first else [""]), f"{name} {{", *_members(body, blocks=True), "}"]


def _aligned(column: Sequence[tuple[str, str]]) -> list[str]:
    """A value of several lines takes no part in the alignment of those before it."""
    single = [name for name, text in column if "\n" not in text]
    width = max(map(len, single), default=0)
    lines: list[str] = []
    for name, text in column:
        padded = name if "\n" in text else name.ljust(width)
        lines += f"{padded} = {text}".split("\n")
    return lines


def _written(value: Any) -> str:
    match value:
        case Expression():
            return value.text
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Mapping():
            return "\n".join(["{", *_members(value, blocks=False), "}"]) if value else "{}"
        case list() | tuple():
            return f"[{', '.join(map(_written, value))}]"
        case _:
            return _quoted(str(value))


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def _quoted(text: str) -> str:
    """Our own `${local.…}` stay templates; a `%{` or `${` that somebody typed does not become one."""
    quoted = json.dumps(text, ensure_ascii=False).replace("%{", "%%{")
    parts = quoted.split("${")
    return parts[0] + "".join(f"{'${' if part.startswith('local.') else '$${'}{part}" for part in parts[1:])
