"""The text of a `.env` file with some of its variables set anew: every other line stays as a person wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

_BEGINNING = re.compile(r"\s*(?:export[^\S\r\n]+)?")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]*")


def read(text: str) -> dict[str, str]:
    """The variables that a `.env` file sets, as the gateway itself reads it: `${NAME}` in a value is filled in."""
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def with_variables(text: str, variables: Mapping[str, str]) -> str:
    """The text with these variables: where one is set (the last of several, the others go), else at the end.

    It is parsed by what reads it, since a value in quotes may have lines that look like variables. ValueError when a
    value cannot stand in one line.
    """
    wanted = {name: f"{name}={_quoted(value)}" for name, value in variables.items()}
    kept: list[str] = []
    for binding in reversed(list(parse_stream(StringIO(text, newline="")))):
        if binding.key not in variables or binding.error:
            kept.append(binding.original.string)
        elif binding.key in wanted:
            kept.append(_set_anew(binding, wanted.pop(binding.key)))
    return _ended("".join(reversed(kept)), text) + "".join(f"{line}{_end_of_lines(text)}" for line in wanted.values())


def _set_anew(binding: Binding, assignment: str) -> str:
    """With the empty lines and the `export` before it."""
    before = binding.original.string
    beginning = _BEGINNING.match(before)
    whole = (beginning[0] if beginning else "") + assignment
    return whole + before[len(before.rstrip("\r\n")) :]


def _ended(kept: str, text: str) -> str:
    return kept if not kept or kept.endswith(("\n", "\r")) else kept + _end_of_lines(text)


def _end_of_lines(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _quoted(value: str) -> str:
    if not value.isprintable() or "'" in value:
        raise ValueError("a value has a quote or a line break")
    return value if _PLAIN.fullmatch(value) else f"'{value}'"
