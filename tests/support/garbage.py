"""Which programs leave what they loaded out of their garbage collections."""

from __future__ import annotations

from pathlib import Path

_DIRECTORY = Path(__file__).parent / "freezing"


class Frozen:
    """Programs that run with `environ` tell when they have done so."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "frozen"
        self.environ = {"PYTHONPATH": str(_DIRECTORY), "TESTS_FROZEN": str(self._file)}

    def pids(self) -> set[int]:
        return {int(line) for line in self._file.read_text().split()} if self._file.exists() else set()
