"""How a command ends when it cannot do what was asked: one sentence on standard error, and 1 or 2."""

from __future__ import annotations

import click

FAILED = 1
BAD_USAGE = 2


class CommandError(click.ClickException):
    """The command failed; the text is one sentence that a stranger understands."""

    exit_code = FAILED


class UsageError(click.ClickException):
    """What was typed or set is wrong; the text names it and the fix."""

    exit_code = BAD_USAGE
