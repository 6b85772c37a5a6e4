"""The JSON of SES's feedback, in both of its formats, as it arrives inside an SNS message.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html (events of configuration sets),
…/notification-contents.html (notifications of identities)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.sandbox import event_details, mime
from gateway.sandbox.event_details import PROCESSING, Occasion
from gateway.sandbox.happenings import REJECT, SOFT_BOUNCE, Happening
from gateway.sandbox.mime import Header
from gateway.sandbox.times import iso_millis

Json = dict[str, Any]
Timelines = Mapping[str, Sequence[Happening]]
"""By recipient: what happens to its copy, in order."""

NOTIFIED: Final = ("Bounce", "Complaint", "Delivery")
"""The kinds that identities notify of."""

_MAX_HEADERS: Final = 10 * 1024
_STEP: Final = 0.02
"""Seconds between what happens and what happens next."""


@dataclass(frozen=True)
class Accepted:
    """A message that SES took, as far as its events tell of it."""

    message_id: str
    accepted_at: datetime
    account_id: str
    region: str
    source: str
    identity: str
    source_ip: str
    operation: str
    recipients: tuple[str, ...]
    fields: tuple[Header, ...] = field(repr=False)
    configuration_set: str | None
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Event:
    """`member` is the name of the part that tells what happened, `after` how long after the acceptance, in seconds."""

    happening: Happening
    recipients: tuple[str, ...]
    member: str
    detail: Json
    mail: Json
    after: float = 0.0

    @property
    def kind(self) -> str:
        return self.happening.kind

    def message(self) -> str:
        """The text of the SNS message for a configuration set: SES ends it with a line feed, which is signed too."""
        return _text({"eventType": self.kind, "mail": self._mail(), self.member: self.detail})

    def notification(self, *, source_ip: str, headers: bool) -> str:
        """The older text for an identity: no tags, headers only where they were asked for."""
        mail = {name: value for name, value in self.mail.items() if headers or name not in _HEADER_MEMBERS}
        del mail["tags"]
        mail |= {"sourceIp": source_ip, "callerIdentity": "sandbox"}
        detail = event_details.with_remote_mta(self.member, self.detail)
        return _text({"notificationType": self.kind, "mail": mail, self.member: detail})

    def _mail(self) -> Json:
        if self.kind != "Delivery":
            return self.mail
        return self.mail | {"tags": self.mail["tags"] | {"ses:outgoing-ip": ["198.51.100.31"]}}


_HEADER_MEMBERS: Final = ("headersTruncated", "headers", "commonHeaders")


def _text(body: Json) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False) + "\n"


def of(accepted: Accepted, timelines: Timelines) -> list[Event]:
    """Everything that SES reports about this mail, in the order in which it happens.

    What happens to several recipients at the same point is merged into one event, as SES does.
    """
    mail = _mail(accepted)
    merged: dict[_Point, list[str]] = {}
    for recipient, happenings in timelines.items():
        for point in _points(happenings):
            merged.setdefault(point, []).append(recipient)
    ordered = sorted(merged.items(), key=lambda item: item[0].position)
    return [_event(accepted, mail, point, recipients) for point, recipients in ordered]


def rejection(accepted: Accepted) -> Event:
    """What becomes of a mail with a virus: accepted, and never attempted."""
    return _event(accepted, _mail(accepted), _Point(0, REJECT), accepted.recipients)


@dataclass(frozen=True)
class _Point:
    """A place in a timeline."""

    position: int
    happening: Happening
    auto_reply: bool = False


def _points(happenings: Sequence[Happening]) -> Iterator[_Point]:
    """A soft bounce of what was delivered is an auto-reply: an out-of-office notice, which is no DSN."""
    delivered = False
    for position, happening in enumerate(happenings):
        yield _Point(position, happening, auto_reply=delivered and happening == SOFT_BOUNCE)
        delivered |= happening.kind == "Delivery"


def _event(accepted: Accepted, mail: Json, point: _Point, recipients: Sequence[str]) -> Event:
    at = accepted.accepted_at + point.position * PROCESSING
    occasion = Occasion(accepted.message_id, at, tuple(recipients), auto_reply=point.auto_reply)
    member, detail = event_details.detail(point.happening, occasion)
    return Event(point.happening, occasion.recipients, member, detail, mail, after=point.position * _STEP)


def _mail(accepted: Accepted) -> Json:
    listed, truncated = _listed(accepted.fields)
    return {
        "timestamp": iso_millis(accepted.accepted_at),
        "source": accepted.source,
        "sourceArn": f"arn:aws:ses:{accepted.region}:{accepted.account_id}:identity/{accepted.identity}",
        "sendingAccountId": accepted.account_id,
        "messageId": accepted.message_id,
        "destination": list(accepted.recipients),
        "headersTruncated": truncated,
        "headers": listed,
        "commonHeaders": _common_headers(accepted),
        "tags": _tags(accepted),
    }


def _listed(fields: Iterable[Header]) -> tuple[list[Json], bool]:
    """The headers up to 10 KB, and whether there were more."""
    listed: list[Json] = []
    room = _MAX_HEADERS
    for header in fields:
        room -= len(header.name) + len(header.value) + len(": \r\n")
        if room < 0:
            break
        listed.append({"name": header.name, "value": header.value})
    return listed, room < 0


_ADDRESS_FIELDS: Final = (("from", "From"), ("replyTo", "Reply-To"), ("to", "To"), ("cc", "Cc"), ("bcc", "Bcc"))
_TEXT_FIELDS: Final = (("sender", "Sender"), ("returnPath", "Return-Path"), ("date", "Date"), ("subject", "Subject"))


def _common_headers(accepted: Accepted) -> Json:
    common: Json = {}
    for key, name in _ADDRESS_FIELDS:
        if (value := mime.first(accepted.fields, name)) is not None:
            common[key] = [mime.decoded(part) for part in mime.split_addresses(value)]
    for key, name in _TEXT_FIELDS:
        if (value := mime.first(accepted.fields, name)) is not None:
            common[key] = mime.decoded(value)
    common["messageId"] = mime.first(accepted.fields, "Message-ID") or accepted.message_id
    return common


def _tags(accepted: Accepted) -> dict[str, list[str]]:
    tags = {
        "ses:operation": [accepted.operation],
        "ses:configuration-set": [accepted.configuration_set or ""],
        "ses:source-ip": [accepted.source_ip],
        "ses:from-domain": [mime.mailbox(accepted.source).rpartition("@")[2]],
        "ses:caller-identity": ["sandbox"],
    }
    for name, value in accepted.tags:
        tags.setdefault(name, []).append(value)
    return tags
