"""SQS, with its JSON protocol (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import Response

from gateway.sandbox import sqs_attributes, sqs_errors, sqs_requests
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import AwsError, named
from gateway.sandbox.records import Records
from gateway.sandbox.resources import Resources
from gateway.sandbox.sqs_queues import Queue
from gateway.sandbox.sqs_requests import Call, Json
from gateway.sandbox.times import now

TARGET_PREFIX: Final = "AmazonSQS."
_CONTENT_TYPE: Final = "application/x-amz-json-1.0"
_PAGE: Final = 1000
_AT_ONCE: Final = 10
_MOVES: Final = "sqs-message-moves"
_MOVES_KEPT: Final = 10


@dataclass(frozen=True)
class Caller:
    """Who calls: the address it reached us by, which queue URLs repeat, and whether it has hung up."""

    base_url: str
    abandoned: Callable[[], bool]


class Sqs:
    """Durable queues that the simulated SNS delivers to. `call` answers one operation."""

    def __init__(self, config: SandboxConfig, resources: Resources) -> None:
        self._config = config
        self._queues = resources.queues
        self._messages = resources.queue_messages
        self._tags = resources.tags
        self._database = resources.database
        self._moves = _Moves(resources.records)
        self._actions: dict[str, Callable[[Call, Caller], Json]] = {
            "CreateQueue": self._create_queue,
            "GetQueueUrl": self._get_queue_url,
            "ListQueues": self._list_queues,
            "ListDeadLetterSourceQueues": self._list_dead_letter_source_queues,
            "GetQueueAttributes": self._get_queue_attributes,
            "SetQueueAttributes": self._set_queue_attributes,
            "DeleteQueue": self._delete_queue,
            "PurgeQueue": self._purge_queue,
            "TagQueue": self._tag_queue,
            "UntagQueue": self._untag_queue,
            "ListQueueTags": self._list_queue_tags,
            "SendMessage": self._send_message,
            "SendMessageBatch": self._send_message_batch,
            "ReceiveMessage": self._receive_message,
            "DeleteMessage": self._delete_message,
            "DeleteMessageBatch": self._delete_message_batch,
            "ChangeMessageVisibility": self._change_message_visibility,
            "ChangeMessageVisibilityBatch": self._change_message_visibility_batch,
            "StartMessageMoveTask": self._start_message_move_task,
            "ListMessageMoveTasks": self._list_message_move_tasks,
        }

    def call(self, action: str, body: bytes, caller: Caller) -> Json:
        """InvalidAction for what this simulation does not know."""
        handler = self._actions.get(action)
        if handler is None:
            raise named("InvalidAction", f"The simulated SQS does not know the action {action}.")
        return handler(Call.parse(body), caller)

    # Queues

    def _create_queue(self, call: Call, caller: Caller) -> Json:
        name = call.new_queue()
        attributes = sqs_attributes.checked(call.mapping("Attributes"))
        if self._queues.create(name, attributes):
            self._tags.add(self._arn(name), call.mapping("tags"))
        return {"QueueUrl": self._url(caller, name)}

    def _get_queue_url(self, call: Call, caller: Caller) -> Json:
        return {"QueueUrl": self._url(caller, self._queues.get(call.text("QueueName")).name)}

    def _list_queues(self, call: Call, caller: Caller) -> Json:
        names = self._queues.names(str(call.given.get("QueueNamePrefix") or ""))
        return self._page(call, caller, names, "QueueUrls")

    def _list_dead_letter_source_queues(self, call: Call, caller: Caller) -> Json:
        names = self._queues.feeding(self._queues.get(call.queue()).name)
        return self._page(call, caller, names, "queueUrls")

    def _page(self, call: Call, caller: Caller, names: Sequence[str], key: str) -> Json:
        after, size = str(call.given.get("NextToken") or ""), call.number("MaxResults", 1, _PAGE) or _PAGE
        left = [name for name in names if name > after]
        more = {"NextToken": left[size - 1]} if len(left) > size else {}
        return {key: [self._url(caller, name) for name in left[:size]]} | more

    def _get_queue_attributes(self, call: Call, _: Caller) -> Json:
        queue = self._queues.get(call.queue())
        wanted = call.names("AttributeNames")
        for name in wanted:
            if name not in sqs_attributes.READABLE:
                raise sqs_errors.attribute_unknown(name)
        known = self._described(queue)
        return {"Attributes": {name: value for name, value in known.items() if "All" in wanted or name in wanted}}

    def _described(self, queue: Queue) -> dict[str, str]:
        counts = self._messages.counts(queue)
        numbers = (counts.visible, counts.in_flight, counts.delayed)
        return {
            **queue.attributes,
            "QueueArn": self._arn(queue.name),
            "CreatedTimestamp": str(int(queue.created_at)),
            "LastModifiedTimestamp": str(int(queue.changed_at)),
            **{name: str(number) for name, number in zip(sqs_attributes.COUNTS, numbers, strict=True)},
        }

    def _set_queue_attributes(self, call: Call, _: Caller) -> Json:
        self._queues.change(call.queue(), sqs_attributes.checked(call.mapping("Attributes")))
        self._messages.arrivals.tell()
        return {}

    def _delete_queue(self, call: Call, _: Caller) -> Json:
        with self._database.transaction():
            self._queues.delete(call.queue())
            self._tags.clear(self._arn(call.queue()))
        self._messages.arrivals.tell()
        return {}

    def _purge_queue(self, call: Call, _: Caller) -> Json:
        self._messages.purge(self._queues.get(call.queue()).name)
        return {}

    def _tag_queue(self, call: Call, _: Caller) -> Json:
        self._tags.add(self._arn(self._queues.get(call.queue()).name), call.mapping("Tags"))
        return {}

    def _untag_queue(self, call: Call, _: Caller) -> Json:
        self._tags.remove(self._arn(self._queues.get(call.queue()).name), call.names("TagKeys"))
        return {}

    def _list_queue_tags(self, call: Call, _: Caller) -> Json:
        return {"Tags": self._tags.of(self._arn(self._queues.get(call.queue()).name))}

    # Messages

    def _send_message(self, call: Call, _: Caller) -> Json:
        queue = self._queues.get(call.queue())
        made = sqs_requests.draft(call, queue)
        return sqs_requests.sent(self._messages.send(queue, made), made)

    def _send_message_batch(self, call: Call, _: Caller) -> Json:
        queue = self._queues.get(call.queue())
        entries = call.entries()

        def send(entry: Call) -> Json:
            made = sqs_requests.draft(entry, queue)
            return sqs_requests.sent(self._messages.send(queue, made), made)

        sqs_requests.require_batch_size([str(entry.given.get("MessageBody") or "") for entry in entries])
        with self._database.transaction():
            return sqs_requests.each(entries, send)

    def _receive_message(self, call: Call, caller: Caller) -> Json:
        queue = self._queues.get(call.queue())
        wait = call.seconds("WaitTimeSeconds", "ReceiveMessageWaitTimeSeconds")
        received = self._messages.poll(
            queue.name,
            limit=call.number("MaxNumberOfMessages", 1, _AT_ONCE) or 1,
            visibility=call.seconds("VisibilityTimeout"),
            wait=queue.seconds("ReceiveMessageWaitTimeSeconds") if wait is None else wait,
            abandoned=caller.abandoned,
        )
        return {"Messages": [sqs_requests.shown(message, call) for message in received]} if received else {}

    def _delete_message(self, call: Call, _: Caller) -> Json:
        return self._delete(self._queues.get(call.queue()), call)

    def _delete_message_batch(self, call: Call, _: Caller) -> Json:
        queue = self._queues.get(call.queue())
        with self._database.transaction():
            return sqs_requests.each(call.entries(), lambda entry: self._delete(queue, entry))

    def _delete(self, queue: Queue, call: Call) -> Json:
        self._messages.delete(queue.name, call.text("ReceiptHandle"))
        return {}

    def _change_message_visibility(self, call: Call, _: Caller) -> Json:
        return self._change(self._queues.get(call.queue()), call)

    def _change_message_visibility_batch(self, call: Call, _: Caller) -> Json:
        queue = self._queues.get(call.queue())
        with self._database.transaction():
            return sqs_requests.each(call.entries(), lambda entry: self._change(queue, entry))

    def _change(self, queue: Queue, call: Call) -> Json:
        seconds = call.seconds("VisibilityTimeout")
        if seconds is None:
            raise sqs_errors.missing("VisibilityTimeout")
        self._messages.change_visibility(queue.name, call.text("ReceiptHandle"), seconds)
        return {}

    # Dead letters

    def _start_message_move_task(self, call: Call, _: Caller) -> Json:
        """All at once, and done when it is answered. Only a queue that is some queue's dead-letter queue has any."""
        source_arn, target_arn = call.text("SourceArn"), call.given.get("DestinationArn")
        source = self._queues.find(_name(source_arn))
        if source is None:
            raise sqs_errors.source_not_found()
        if not self._queues.feeding(source.name):
            raise sqs_errors.unsupported("Source queue must be configured as a Dead Letter Queue.")
        target = None if target_arn is None else self._queues.get(_name(target_arn)).name
        moved = self._messages.move(source.name, target)
        return {"TaskHandle": self._moves.add(source_arn, target_arn, moved)}

    def _list_message_move_tasks(self, call: Call, _: Caller) -> Json:
        """The newest first."""
        return {"Results": self._moves.of(call.text("SourceArn"))[: call.number("MaxResults", 1, _MOVES_KEPT) or 1]}

    def _arn(self, name: str) -> str:
        return self._config.queue_arn(name)

    def _url(self, caller: Caller, name: str) -> str:
        return f"{caller.base_url.rstrip('/')}/{self._config.account_id}/{name}"


class _Moves:
    """What StartMessageMoveTask has done, for ListMessageMoveTasks."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def add(self, source_arn: str, target_arn: str | None, moved: int) -> str:
        done = {
            "TaskHandle": str(uuid.uuid4()),
            "Status": "COMPLETED",
            "SourceArn": source_arn,
            "ApproximateNumberOfMessagesMoved": moved,
            "ApproximateNumberOfMessagesToMove": moved,
            "StartedTimestamp": int(now().timestamp() * 1000),
        } | ({} if target_arn is None else {"DestinationArn": target_arn})
        others = [task for task in self._all() if task["SourceArn"] != source_arn]
        kept = [task for task in self._all() if task["SourceArn"] == source_arn][: _MOVES_KEPT - 1]
        self._records.save(_MOVES, [done, *kept, *others])
        return str(done["TaskHandle"])

    def of(self, source_arn: str) -> list[Any]:
        return [task for task in self._all() if task["SourceArn"] == source_arn]

    def _all(self) -> list[Any]:
        return list(self._records.load(_MOVES) or [])


def _name(arn: str) -> str:
    return arn.rpartition(":")[2]


def answer(result: Json) -> Response:
    return _response(result, 200)


def answer_error(error: AwsError) -> Response:
    """The shape in the body, and the code of the query protocol in the header in which botocore looks for it."""
    response = _response({"__type": f"com.amazonaws.sqs#{error.code}", "message": error.message}, error.status)
    fault = "Receiver" if error.status >= 500 else "Sender"  # noqa: PLR2004 - the HTTP boundary of blame
    response.headers["x-amzn-query-error"] = f"{sqs_errors.query_code(error.code)};{fault}"
    return response


def _response(body: Json, status: int) -> Response:
    response = Response(json.dumps(body), status, content_type=_CONTENT_TYPE)
    response.headers["x-amzn-RequestId"] = str(uuid.uuid4())
    return response
