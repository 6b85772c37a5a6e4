"""The clients' ledger: what was handed in, and what the front answered, on the disk before anything else is done.

It is all that a client knows, and survives the kill of any program, the clients' own included.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self


class Answer(StrEnum):
    """What became of handing a mail in, as its client sees it."""

    ACKNOWLEDGED = "acknowledged"
    LATER = "later"  # 4xx
    REFUSED = "refused"  # 5xx
    UNANSWERED = "unanswered"  # everything was sent, and no reply came
    NOT_HANDED_IN = "not-handed-in"  # the connection ended before the final dot


class Ledger:
    """An append-only file with one line an event. Safe for many threads and processes: each line is one write."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def begin(self, mail: str) -> None:
        """Before the first octet: whatever happens from now on, this mail may be sent once."""
        os.write(self._descriptor, f"{mail}\tbegun\t\n".encode())

    def end(self, mail: str, answer: Answer, text: str = "") -> None:
        """After the reply. On the disk when this returns."""
        line = " ".join(text.split())
        os.write(self._descriptor, f"{mail}\t{answer}\t{line}\n".encode())
        os.fdatasync(self._descriptor)

    def read(self) -> dict[str, Answer]:
        """The answer to each mail. One that was begun by a client that is gone counts as unanswered."""
        answers: dict[str, Answer] = {}
        for line in self._file.read_text().splitlines():
            mail, answer, _ = line.split("\t")
            answers[mail] = Answer.UNANSWERED if answer == "begun" else Answer(answer)
        return answers

    def replies(self, answer: Answer) -> dict[str, str]:
        """The texts that came with that answer, by mail."""
        rows = (line.split("\t") for line in self._file.read_text().splitlines())
        return {mail: text for mail, kind, text in rows if kind == answer}
