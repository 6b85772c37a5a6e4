"""Setting variables in a `.env` file on disk: whole or not at all, and readable by its owner only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gateway import env_file
from gateway.cli.errors import CommandError


def set_variables(path: Path, variables: Mapping[str, str]) -> bool:
    """Leave every other line as it is; False when the file has all of it already. OSError when it cannot be written."""
    before = text_of(path)
    after = env_file.with_variables(before, variables)
    if after == before:
        return False
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.absolute().parent, prefix=f"{path.name}.", delete=False
    ) as new:
        new.write(after)
        new.flush()
        os.fsync(new.fileno())
    Path(new.name).replace(path)
    return True


def text_of(path: Path) -> str:
    """What stands in the file; nothing when there is none. CommandError when it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8, so nothing can be set in it.") from None
