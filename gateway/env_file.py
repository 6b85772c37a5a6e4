"""The text of a `.env` file with some of its variables set anew: every other line stays as a person wrote it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO

from dotenv import dotenv_values

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]*")


def read(text: str) -> dict[str, str]:
    """The variables that a `.env` file sets."""
    return {
        name: value
        for name, value in dotenv_values(stream=StringIO(text), interpolate=False).items()
        if value is not None
    }


def with_variables(text: str, variables: Mapping[str, str]) -> str:
    """The text with these variables: in the line that sets one (the last of several, the others go), else at the end.

    ValueError when a value cannot stand in one line.
    """
    wanted = {name: f"{name}={_quoted(value)}" for name, value in variables.items()}
    kept: list[str] = []
    for line in reversed(text.splitlines()):
        match = _ASSIGNMENT.match(line)
        name = match["name"] if match else None
        if name not in variables:
            kept.append(line)
        elif name in wanted:
            kept.append(wanted.pop(name))
    lines = [*reversed(kept), *wanted.values()]
    return "".join(f"{line}\n" for line in lines)


def _quoted(value: str) -> str:
    if not value.isprintable() or "'" in value:
        raise ValueError("a value has a quote or a line break")
    return value if _PLAIN.fullmatch(value) else f"'{value}'"
