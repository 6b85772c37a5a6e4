"""How SES compares addresses."""

from __future__ import annotations


def folded(name: str) -> str:
    """An address or a domain as it is looked up: domains ignore case, local parts do not."""
    local, at, domain = name.rpartition("@")
    return f"{local}{at}{domain.lower()}"
