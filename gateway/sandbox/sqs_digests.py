"""The MD5 sums that SQS answers with, from which an SDK sees that nothing was garbled on the way. Pure.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping
from typing import Any, Final

_STRING: Final = b"\x01"
_BINARY: Final = b"\x02"


def of_body(body: str) -> str:
    return _md5(body.encode())


def of_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Of message attributes, sorted by name: each part with its length before it. None if there are none."""
    if not attributes:
        return None
    return _md5(b"".join(_encoded(name, attributes[name]) for name in sorted(attributes)))


def _encoded(name: str, attribute: Mapping[str, Any]) -> bytes:
    if "BinaryValue" in attribute:
        value = _BINARY + _sized(base64.b64decode(attribute["BinaryValue"]))
    else:
        value = _STRING + _sized(str(attribute.get("StringValue", "")).encode())
    return _sized(name.encode()) + _sized(str(attribute["DataType"]).encode()) + value


def _sized(part: bytes) -> bytes:
    return struct.pack(">I", len(part)) + part


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
