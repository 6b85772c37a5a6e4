"""What docs/clients.md tells people to write, with a test's server put in."""

from __future__ import annotations

import re
from pathlib import Path

from tests.clients.front import HOST, Front

_PAGE = Path(__file__).resolve().parents[2] / "docs/clients.md"
_BLOCK = re.compile(r"<!-- tried: (\S+) -->\n```\w*\n(.*?)```", re.DOTALL)
_BLOCKS = dict(_BLOCK.findall(_PAGE.read_text(encoding="utf-8")))


def documented(name: str, front: Front, **replaced: str) -> str:
    """A block of the page for the `modern` listener. Each key of `replaced` must stand in the block."""
    text = _BLOCKS[name]
    for written, instead in ({"mailgate.example.org": HOST, "587": str(front.modern_port)} | replaced).items():
        assert written in text, f"{written} is not in the block {name}"
        text = text.replace(written, instead)
    return text
