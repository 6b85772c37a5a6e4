"""The refusals of the simulated SQS, as both of its protocols name them.

An error of the JSON protocol has the name of its shape; the code that clients were written against stands in the header
`x-amzn-query-error` (the model of SQS, `awsQueryCompatible`).
"""

from __future__ import annotations

from typing import Final

from gateway.sandbox.errors import AwsError

_PREFIXED: Final = frozenset(
    {
        "BatchEntryIdsNotDistinct",
        "BatchRequestTooLong",
        "EmptyBatchRequest",
        "InvalidBatchEntryId",
        "MessageNotInflight",
        "TooManyEntriesInBatchRequest",
        "UnsupportedOperation",
    }
)
_RENAMED: Final = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
}
_STATUS: Final = {"ReceiptHandleIsInvalid": 404, "ResourceNotFoundException": 404}


def query_code(code: str) -> str:
    """The code that the query protocol had for this error, and that botocore still shows."""
    if code in _PREFIXED:
        return f"AWS.SimpleQueueService.{code}"
    return _RENAMED.get(code, code)


def _refused(code: str, message: str) -> AwsError:
    return AwsError(code, message, _STATUS.get(code, 400))


def queue_missing() -> AwsError:
    return _refused("QueueDoesNotExist", "The specified queue does not exist.")


def queue_differs(attribute: str) -> AwsError:
    return _refused(
        "QueueNameExists",
        f"A queue already exists with the same name and a different value for attribute {attribute}",
    )


def handle_invalid(handle: str) -> AwsError:
    return _refused("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.')


def not_in_flight() -> AwsError:
    return _refused("MessageNotInflight", "The message referred to isn't in flight.")


def message_gone(handle: str) -> AwsError:
    return invalid("ReceiptHandle", handle, "Message does not exist or is not available for visibility timeout change.")


def invalid(name: str, value: object, reason: str) -> AwsError:
    return _refused("InvalidParameterValue", f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def too_long(limit: int) -> AwsError:
    return _refused(
        "InvalidParameterValue",
        f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes.",
    )


def contents_invalid() -> AwsError:
    return _refused(
        "InvalidMessageContents",
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | "
        "#x10000 to #x10FFFF",
    )


def missing(name: str) -> AwsError:
    return _refused("MissingParameter", f"The request must contain the parameter {name}.")


def attribute_unknown(name: str) -> AwsError:
    return _refused("InvalidAttributeName", f"Unknown Attribute {name}.")


def attribute_invalid(name: str) -> AwsError:
    return _refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")


def no_fifo() -> AwsError:
    return _refused(
        "UnsupportedOperation",
        "The simulated SQS has standard queues only. SES publishes to standard topics only, and a standard topic "
        "delivers to standard queues.",
    )


def batch(code: str, message: str) -> AwsError:
    return _refused(code, message)


def source_not_found() -> AwsError:
    return _refused(
        "ResourceNotFoundException", "The resource that you specified for the SourceArn parameter doesn't exist."
    )


def unsupported(message: str) -> AwsError:
    return _refused("UnsupportedOperation", message)
