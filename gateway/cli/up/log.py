"""The one log of `sesgate up`: each line with the name of the child that wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, Literal

import click

_COLOURS = ("green", "yellow", "blue", "magenta", "cyan", "bright_green", "bright_yellow", "bright_blue", "bright_cyan")
_LONGEST_LINE = 64 * 1024
OWN_NAME = "up"


class Lines:
    """Cuts the pieces that come out of a pipe into lines; what is longer than 64 KiB is cut there."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            complete.append(self._rest)
            self._rest = b""
        return [_printable(line) for line in complete]

    def flush(self) -> list[str]:
        """The last line, when it had no end."""
        rest, self._rest = self._rest, b""
        return [_printable(rest)] if rest else []


def _printable(line: bytes) -> str:
    """No control character that a child wrote reaches the terminal."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


class Log:
    """Writes lines with their origin in front: coloured on a terminal, and JSON when the children write JSON."""

    def __init__(self, stream: IO[str], names: Iterable[str], log_format: Literal["console", "json"]) -> None:
        self._stream: IO[str] | _Nowhere = stream
        self._json = log_format == "json"
        self._coloured = stream.isatty()
        names = tuple(names)
        self._width = max(map(len, (*names, OWN_NAME)))
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}

    def say(self, sentence: str) -> None:
        """A line of the supervisor itself."""
        self.write(OWN_NAME, sentence)

    def write(self, name: str, line: str) -> None:
        self._put(self._as_json(name, line) if self._json else self._as_text(name, line))

    def banner(self, text: str) -> None:
        """Several lines for the person in front of the terminal; in JSON they are one record."""
        if self._json:
            self._put(json.dumps({"child": OWN_NAME, "event": text}))
        else:
            self._put(f"\n{text}\n")

    def _as_text(self, name: str, line: str) -> str:
        prefix = f"{name:<{self._width}} | "
        if self._coloured:
            prefix = click.style(prefix, fg=self._colours.get(name), bold=name == OWN_NAME or None)
        return prefix + line

    def _as_json(self, name: str, line: str) -> str:
        # Our own programs write JSON themselves; Redis and gunicorn do not.
        return line if line.startswith("{") else json.dumps({"child": name, "event": line}, ensure_ascii=False)

    def _put(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except OSError:
            # Whoever read the log (`| tee`, a terminal) is gone. The children still want an orderly end.
            self._stream = _Nowhere()


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass
