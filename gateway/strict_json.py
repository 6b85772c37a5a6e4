"""JSON that means one thing only, for documents that come from outside."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class JsonError(ValueError):
    """The text is no JSON, or is JSON that two readers could understand differently; the message says why."""


def loads(text: str) -> Any:
    """Parse a document, and refuse what RFC 8259 leaves to the reader: a key given twice, NaN and Infinity.

    JsonError also for nesting deeper than the interpreter's stack and for numbers too long to convert.
    """
    try:
        return _DECODER.decode(text)
    except JsonError:
        raise
    except RecursionError:
        raise JsonError("it is nested too deeply") from None
    except ValueError:  # JSONDecodeError, and the limit on the digits of an integer
        raise JsonError("it is not JSON") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonError("it gives a key twice")
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise JsonError("it has a number that JSON does not know")


# json.loads would make one for each document, for hooks are not its default.
_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
