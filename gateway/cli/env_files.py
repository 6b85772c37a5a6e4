"""Setting variables in a `.env` file on disk: whole or not at all, and a new one readable by its owner only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway import env_file
from gateway.cli.errors import CommandError
from gateway.cli.whole_files import replacing


def set_variables(path: Path, variables: Mapping[str, str]) -> bool:
    """Leave every other line as it is; False when the file has all of it already. OSError when it cannot be written."""
    before = text_of(path)
    after = env_file.with_variables(before, variables)
    if after == before:
        return False
    with replacing(path, keeps_access=True) as stream:
        stream.write(after.encode())
    return True


def text_of(path: Path) -> str:
    """What stands in the file, ends of lines as they are; nothing without one. CommandError when it is not UTF-8."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8, so nothing can be set in it.") from None
