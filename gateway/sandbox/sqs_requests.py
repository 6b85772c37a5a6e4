"""What a call to SQS carries, read and checked."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.sandbox import sqs_digests, sqs_errors
from gateway.sandbox.errors import AwsError, named
from gateway.sandbox.sqs_attributes import RANGES
from gateway.sandbox.sqs_messages import Draft, MessageAttributes, Received
from gateway.sandbox.sqs_queues import Queue

Json = dict[str, Any]

_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_NOT_ALLOWED: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAX_ENTRIES: Final = 10
_MAX_BATCH: Final = 1_048_576


@dataclass(frozen=True)
class Call:
    """The JSON object of a call, and the questions that are asked of it."""

    given: Json

    @classmethod
    def parse(cls, body: bytes) -> Call:
        try:
            given = json.loads(body or b"{}")
        except ValueError as error:
            raise named("SerializationException", "The request body is not JSON.") from error
        if not isinstance(given, dict):
            raise named("SerializationException", "The request body is not a JSON object.")
        return cls(given)

    def text(self, name: str) -> str:
        value = self.given.get(name)
        if not isinstance(value, str) or not value:
            raise sqs_errors.missing(name)
        return value

    def mapping(self, name: str) -> Json:
        value = self.given.get(name) or {}
        if not isinstance(value, dict):
            raise sqs_errors.invalid(name, value, "Must be a map.")
        return value

    def number(self, name: str, low: int, high: int) -> int | None:
        value = self.given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise sqs_errors.invalid(name, value, f"Must be >= {low} and <= {high}, if provided.")
        return value

    def seconds(self, name: str, attribute: str | None = None) -> int | None:
        """A time within the bounds of the attribute that it stands in for."""
        return self.number(name, *RANGES[attribute or name])

    def names(self, name: str) -> list[str]:
        return [str(value) for value in self.given.get(name) or []]

    def queue(self) -> str:
        """The name at the end of QueueUrl: whose host and port do not matter."""
        return self.text("QueueUrl").rstrip("/").rpartition("/")[2]

    def new_queue(self) -> str:
        name = self.text("QueueName")
        if name.endswith(".fifo"):
            raise sqs_errors.no_fifo()
        if not _QUEUE_NAME.fullmatch(name):
            raise sqs_errors.invalid(
                "QueueName",
                name,
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.",
            )
        return name

    def entries(self) -> list[Call]:
        """The entries of a batch: one to ten, each with an id of its own."""
        listed = [Call(entry) for entry in self.given.get("Entries") or [] if isinstance(entry, dict)]
        if not listed:
            raise sqs_errors.batch("EmptyBatchRequest", "There should be at least one entry in the request.")
        if len(listed) > _MAX_ENTRIES:
            raise sqs_errors.batch(
                "TooManyEntriesInBatchRequest",
                f"Maximum number of entries per request are {_MAX_ENTRIES}. You have sent {len(listed)}.",
            )
        ids = [entry.text("Id") for entry in listed]
        if any(not _ENTRY_ID.fullmatch(name) for name in ids):
            raise sqs_errors.batch(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
                "It can be at most 80 letters long.",
            )
        if len(set(ids)) < len(ids):
            raise sqs_errors.batch("BatchEntryIdsNotDistinct", "Two or more batch entries have the same Id.")
        return listed


def draft(call: Call, queue: Queue) -> Draft:
    """The message of SendMessage, or of one entry of a batch."""
    if call.given.get("MessageGroupId") is not None or call.given.get("MessageDeduplicationId") is not None:
        raise sqs_errors.no_fifo()
    body = call.text("MessageBody")
    if _NOT_ALLOWED.search(body):
        raise sqs_errors.contents_invalid()
    made = Draft(
        body,
        _attributes(call.mapping("MessageAttributes")),
        _attributes(call.mapping("MessageSystemAttributes")),
        call.seconds("DelaySeconds"),
    )
    limit = queue.seconds("MaximumMessageSize")
    if _size(made) > limit:
        raise sqs_errors.too_long(limit)
    return made


def _attributes(given: Json) -> MessageAttributes:
    for name, attribute in given.items():
        if not isinstance(attribute, dict) or not attribute.get("DataType"):
            raise sqs_errors.invalid(f"MessageAttributes.{name}", attribute, "It must have a DataType.")
        if not isinstance(attribute.get("StringValue"), str) and not _is_base64(attribute.get("BinaryValue")):
            raise sqs_errors.invalid(f"MessageAttributes.{name}", attribute, "It must have a value.")
    return given


def _is_base64(value: object) -> bool:
    try:
        return isinstance(value, str) and base64.b64decode(value, validate=True) is not None
    except binascii.Error:
        return False


def _size(made: Draft) -> int:
    """Octets, as SQS counts them: the body, and name, type and value of each attribute."""
    attributes = sum(
        len(name.encode()) + sum(len(str(part).encode()) for part in attribute.values())
        for name, attribute in made.attributes.items()
    )
    return len(made.body.encode()) + attributes


def require_batch_size(bodies: Iterable[str]) -> None:
    total = sum(len(body.encode()) for body in bodies)
    if total > _MAX_BATCH:
        raise sqs_errors.batch(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {_MAX_BATCH} bytes. You have sent {total} bytes.",
        )


def each(entries: list[Call], handle: Callable[[Call], Json]) -> Json:
    """The answer to a batch: every entry succeeds or fails by itself."""
    done: list[Json] = []
    failed: list[Json] = []
    for entry in entries:
        try:
            done.append({"Id": entry.text("Id")} | handle(entry))
        except AwsError as error:
            code = sqs_errors.query_code(error.code)
            failed.append({"Id": entry.text("Id"), "SenderFault": True, "Code": code, "Message": error.message})
    return {"Successful": done, "Failed": failed}


def sent(message_id: str, made: Draft) -> Json:
    """The answer to a message that was sent."""
    digests = {
        "MD5OfMessageBody": sqs_digests.of_body(made.body),
        "MD5OfMessageAttributes": sqs_digests.of_attributes(made.attributes),
        "MD5OfMessageSystemAttributes": sqs_digests.of_attributes(made.system_attributes),
    }
    return {"MessageId": message_id} | {name: digest for name, digest in digests.items() if digest is not None}


def shown(message: Received, call: Call) -> Json:
    """A message as ReceiveMessage answers it, with the attributes that the call asks for."""
    wanted = {*call.names("AttributeNames"), *call.names("MessageSystemAttributeNames")}
    answer: Json = {
        "MessageId": message.id,
        "ReceiptHandle": message.handle,
        "MD5OfBody": sqs_digests.of_body(message.body),
        "Body": message.body,
    }
    system = {name: value for name, value in message.system.items() if "All" in wanted or name in wanted}
    attributes = _asked_for(message.attributes, call.names("MessageAttributeNames"))
    if system:
        answer["Attributes"] = system
    if attributes:
        answer |= {
            "MessageAttributes": attributes,
            "MD5OfMessageAttributes": sqs_digests.of_attributes(attributes),
        }
    return answer


def _asked_for(attributes: MessageAttributes, patterns: list[str]) -> Mapping[str, Mapping[str, Any]]:
    """`All`, `.*`, `prefix.*` or a name."""
    prefixes = tuple("" if pattern in {"All", ".*"} else pattern[:-1] for pattern in patterns if _is_open(pattern))
    return {name: value for name, value in attributes.items() if name in patterns or name.startswith(prefixes)}


def _is_open(pattern: str) -> bool:
    return pattern in {"All", ".*"} or pattern.endswith(".*")
