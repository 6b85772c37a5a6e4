"""How an example stands in a command's `--help`."""

from __future__ import annotations


def example(*lines: str) -> str:
    """For `epilog=`: the lines as they are typed. Without the mark in front click fills them into a paragraph."""
    return "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))
