"""What a program that a test starts inherits."""

from __future__ import annotations

import os

_OURS = ("SESGATE_", "AWS_")


def own_environment() -> dict[str, str]:
    """This process's environment without what would set up the gateway or reach a real AWS."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
