"""AWS's query protocol: form parameters in, XML out. SES v1 and SNS speak it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from gateway.sandbox.errors import AwsError, named

Result = Mapping[str, Any]

SES_NAMESPACE: Final = "http://ses.amazonaws.com/doc/2010-12-01/"
SNS_NAMESPACE: Final = "http://sns.amazonaws.com/doc/2010-03-31/"
CONTENT_TYPE: Final = "text/xml"

# What XML 1.0 cannot hold.
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class Entries(dict[str, Any]):
    """A map, which the protocol writes as `<entry><key/><value/></entry>`."""


class Parameters:
    """The parameters of a call, with the numbered lists and maps put together again."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    @classmethod
    def parse(cls, query: bytes, body: bytes) -> Parameters:
        pairs: list[tuple[str, str]] = []
        for encoded in (query, body):
            pairs += parse_qsl(encoded.decode("ascii", "replace"), keep_blank_values=True)
        return cls(dict(pairs))

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def require(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            raise named("ValidationError", f"1 validation error detected: Value at '{name}' must not be null")
        return value

    def members(self, name: str) -> list[str]:
        """The list `Name.member.1`, `Name.member.2` and so on."""
        return [self._values[key] for key in self._numbered(f"{name}.member") if key in self._values]

    def structures(self, name: str) -> list[dict[str, str]]:
        """`Name.member.1.Key` … as one mapping a member; for a map, give `name` with `.entry`."""
        prefix = name if name.endswith(".entry") else f"{name}.member"
        return [self._below(f"{key}.") for key in self._numbered(prefix)]

    def entries(self, name: str) -> dict[str, str]:
        """The map `Name.entry.1.key`, `Name.entry.1.value` and so on."""
        listed = self.structures(f"{name}.entry")
        return {entry["key"]: entry.get("value", "") for entry in listed if "key" in entry}

    def _numbered(self, prefix: str) -> list[str]:
        numbers = set()
        for key in self._values:
            if key.startswith(f"{prefix}."):
                number = key.removeprefix(f"{prefix}.").partition(".")[0]
                if number.isdecimal():
                    numbers.add(int(number))
        return [f"{prefix}.{number}" for number in sorted(numbers)]

    def _below(self, prefix: str) -> dict[str, str]:
        return {key.removeprefix(prefix): value for key, value in self._values.items() if key.startswith(prefix)}


def render(action: str, namespace: str, result: Result | None) -> bytes:
    root = ET.Element(f"{action}Response", xmlns=namespace)
    if result is not None:
        _fill(ET.SubElement(root, f"{action}Result"), result)
    ET.SubElement(ET.SubElement(root, "ResponseMetadata"), "RequestId").text = str(uuid.uuid4())
    return _written(root)


def render_error(error: AwsError, namespace: str) -> bytes:
    root = ET.Element("ErrorResponse", xmlns=namespace)
    fault = "Receiver" if error.status >= 500 else "Sender"  # noqa: PLR2004 - the HTTP boundary of blame
    _fill(ET.SubElement(root, "Error"), {"Type": fault, "Code": error.code, "Message": error.message})
    ET.SubElement(root, "RequestId").text = str(uuid.uuid4())
    return _written(root)


def _written(root: ET.Element) -> bytes:
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _fill(element: ET.Element, value: Any) -> None:
    if isinstance(value, Entries):
        for key, entry in value.items():
            _fill(ET.SubElement(element, "entry"), {"key": key, "value": entry})
    elif isinstance(value, Mapping):
        for name, child in value.items():
            _fill(ET.SubElement(element, name), child)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for member in value:
            _fill(ET.SubElement(element, "member"), member)
    else:
        element.text = _NOT_XML.sub("\ufffd", _scalar(value))


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
