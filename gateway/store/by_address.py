"""Finding the rows of one address by an index that goes by time first.

In an index of addresses alone each mail is written into a page from anywhere: beside ten million others that is one
read from the disk and 16 KB written for each. So the index is one of small ones in a row, by the number of the row:
what is written now goes into the last of them, which is at hand. Who looks an address up looks into each: that is done
by people, and for the few reports that may suppress an address or end that, but not for each mail.

The smaller the parts, the more of what is written in one go shares a page, and the longer a look-up takes, which goes
into each: 1,200 of them beside ten million. Of the size that is chosen a full part has some 80 pages.
"""

from __future__ import annotations

_ROWS = 8192  # as the migration spells it


def to_address(table: str, of: str = "") -> str:
    """A condition with the key of the address bound to it; `of` is what the table is called, such as `r.`."""
    return f"{of}id / {_ROWS} IN ({parts(table)} SELECT n FROM part) AND {of}address_key = ?"


def parts(table: str) -> str:
    """The beginning of a statement that may ask `part` for the numbers `n` of all parts of a table."""
    first, last = (f"(SELECT {which}(id) FROM {table}) / {_ROWS}" for which in ("min", "max"))
    return f"WITH RECURSIVE part(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM part WHERE n < {last})"


def of_part(of: str) -> str:
    """A condition that a row is of the `part` at hand."""
    return f"{of}id / {_ROWS} = part.n"
