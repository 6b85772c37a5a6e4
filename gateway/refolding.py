"""Header lines that are too long, folded where that changes nothing.

RFC 5322 section 2.2.3 lets a line break stand before any white space of a field, and takes it out again when the field
is read. A line without white space in reach cannot be helped, nor can one of a body: there a line break is content.
"""

from __future__ import annotations

from collections.abc import Iterator

_END = b"\r\n\r\n"


def refold(content: bytes, longest: int, *, header_within: int) -> bytes:
    """`content`, whose lines end with CRLF, and no header line longer than `longest` octets where that can be.

    A header section that does not end within `header_within` octets is left alone: it is going to be refused, and the
    work on it would have no bound.
    """
    reach = header_within + len(_END)
    end = content.find(_END, 0, reach)
    if end < 0 and len(content) > reach:
        return content
    header, rest = (content, b"") if end < 0 else (content[:end], content[end:])
    lines = header.split(b"\r\n")
    if all(len(line) <= longest for line in lines):
        return content
    return b"\r\n".join(piece for line in lines for piece in _pieces(line, longest)) + rest


def _pieces(line: bytes, longest: int) -> Iterator[bytes]:
    """The line cut before white space. No piece is white space alone: some would read it as the end of the section."""
    start = 0
    text_end = len(line.rstrip(b" \t"))
    while len(line) - start > longest:
        reach = start + longest + 1
        cut = max(line.rfind(b" ", start + 1, reach), line.rfind(b"\t", start + 1, reach))
        if cut < 0 or cut >= text_end or not line[start:cut].strip(b" \t"):
            break
        yield line[start:cut]
        start = cut
    yield line[start:]
