"""An address inside longer texts: found by SQL, and replaced without touching its neighbours."""

from __future__ import annotations

import re

ERASED = "(erased)"

_ESCAPE = "!"
LIKE = f"LIKE ? ESCAPE '{_ESCAPE}'"

# What goes on before an address makes it another one: `ann@…` does not stand in `joann@…`. But the letter of an escape,
# as JSON has it in `\r\nann@…`, is no part of it. Other characters that may be in a local part are rather delimiters
# in what servers write, as in `to=ann@…`.
_BEFORE = r"(?:(?<![A-Za-z0-9._+-])|(?<=\\[nrt]))"
_BEHIND = r"(?![A-Za-z0-9-]|\.[A-Za-z0-9])"


class Mentions:
    """Finds one address, by its key, in texts of any case."""

    def __init__(self, key: str) -> None:
        self.like = f"%{_escaped(key)}%"
        self._pattern = re.compile(_BEFORE + re.escape(key) + _BEHIND, re.IGNORECASE)

    def stand_in(self, text: str | None) -> bool:
        return text is not None and self._pattern.search(text) is not None

    def erased(self, text: str) -> str:
        return self._pattern.sub(ERASED, text)


def _escaped(key: str) -> str:
    """For the pattern of LIKE, to be compared with a text in lower case."""
    return re.sub(r"([%_!])", rf"{_ESCAPE}\1", key)
