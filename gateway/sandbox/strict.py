"""Reading the JSON that tests and people PUT: unknown keys and odd values are refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Reader = Callable[[str, Any], Any]


class InvalidValueError(ValueError):
    """The sentence says which key is wrong and what would be right."""


def read(given: object, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The keys of a JSON object, each read by its reader. Absent keys stay absent."""
    if not isinstance(given, Mapping):
        raise InvalidValueError("Send a JSON object.")
    unknown = sorted(set(given) - set(readers))
    if unknown:
        raise InvalidValueError(f"Unknown: {', '.join(unknown)}. Known are {', '.join(sorted(readers))}.")
    return {key: readers[key](key, value) for key, value in given.items()}


def flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError(f"{key} is true or false, not {value!r}.")
    return value


def whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidValueError(f"{key} is a whole number of 0 or more, not {value!r}.")
    return value


def number(key: str, value: Any, *, lowest: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < lowest:
        raise InvalidValueError(f"{key} is a number of {lowest:g} or more, not {value!r}.")
    return float(value)


def text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidValueError(f"{key} is a text, not {value!r}.")
    return value


def one_of(choices: Iterable[str]) -> Reader:
    known = tuple(choices)

    def reader(key: str, value: Any) -> str:
        if value not in known:
            raise InvalidValueError(f"{key} is one of {', '.join(known)}, not {value!r}.")
        return str(value)

    return reader


def texts(choices: Iterable[str] | None = None) -> Reader:
    """A list of texts; with `choices`, of these only."""
    known = None if choices is None else tuple(choices)

    def reader(key: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidValueError(f"{key} is a list of texts, not {value!r}.")
        if known is not None and (odd := sorted(set(value) - set(known))):
            raise InvalidValueError(f"{key} has no {', '.join(odd)}. Known are {', '.join(known)}.")
        return tuple(value)

    return reader
