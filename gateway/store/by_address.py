"""Finding the rows of one address by an index that goes by time first.

In an index of addresses alone each mail is written into a page from anywhere: beside ten million others that is one
read from the disk and 16 KB written for each. So the index is one of small ones in a row, by the number of the row:
what is written now goes into the last of them, which is at hand. Who looks an address up looks into each, 150 for ten
million rows; that is done by people and not for each mail.
"""

from __future__ import annotations

_ROWS = 65_536  # as the migration spells it


def to_address(table: str, of: str = "") -> str:
    """A condition with the key of the address bound to it; `of` is what the table is called, such as `r.`."""
    first, last = (f"(SELECT {which}(id) FROM {table}) / {_ROWS}" for which in ("min", "max"))
    parts = f"WITH RECURSIVE part(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM part WHERE n < {last})"
    return f"{of}id / {_ROWS} IN ({parts} SELECT n FROM part) AND {of}address_key = ?"
