"""One target under libFuzzer: `python -m tests.fuzz.with_atheris TARGET [LIBFUZZER OPTIONS AND DIRECTORIES]`.

A process of its own: libFuzzer ends the one it runs in.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["gateway", "tasks", "webhook"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]].check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
