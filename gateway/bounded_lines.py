"""Lines of a file that somebody hands in: numbered, of bounded length, and in UTF-8, or else named."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_LINE = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class FileError(ValueError):
    """The file as a whole cannot be read; the message is one sentence that says why."""


class UnreadableLineError(ValueError):
    """A line is no text, or has no end; the message says why, without the number."""


@dataclass(frozen=True, slots=True)
class Line:
    """As it came, with its end. Of one that is too long only as much as shows it."""

    number: int
    data: bytes

    def text(self) -> str:
        """UnreadableLineError when it is too long, or not UTF-8."""
        if len(self.data) > MAX_LINE:
            raise UnreadableLineError(f"it is longer than {MAX_LINE // 1024} KiB")
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise UnreadableLineError("it is not UTF-8 text") from None


def numbered(stream: BinaryIO) -> Iterator[Line]:
    """The lines, without the mark that some programs put before the first. FileError for UTF-16."""
    number = 0
    while data := stream.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            if data.startswith(_UTF_16):
                raise FileError("The file is in UTF-16; save it as UTF-8.")
            data = data.removeprefix(_BOM)
        if len(data) > MAX_LINE:
            _skip_rest(stream, data)
        yield Line(number, data)


def _skip_rest(stream: BinaryIO, data: bytes) -> None:
    while data and not data.endswith(b"\n"):
        data = stream.readline(MAX_LINE)


class Feed:
    """Lines for a reader that takes as many as a record needs, and may give them back when it made nothing of them.

    So a quote that is never closed costs its own line, and not the rest of the file.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._back: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0

    def begin_record(self) -> None:
        self._taken.clear()
        self._size = 0

    @property
    def number(self) -> int:
        """Of the line with which the record begins."""
        return self._taken[0].number

    def give_back(self) -> int:
        """All but the first line of the record; how many they are."""
        again = self._taken[1:]
        self._back.extendleft(reversed(again))
        return len(again)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """UnreadableLineError also when the record is longer than a line may be."""
        line = self._back.popleft() if self._back else next(self._lines)
        self._taken.append(line)
        self._size += len(line.data)
        if len(self._taken) > 1 and self._size > MAX_LINE:
            raise UnreadableLineError("a quote is opened in it and not closed")
        return line.text()
