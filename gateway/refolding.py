"""Header lines that are too long, folded where that changes nothing.

RFC 5322 section 2.2.3 lets a line break stand before any white space of a field, and takes it out again when the field
is read. A line without white space in reach cannot be helped, nor can one of a body: there a line break is content.
"""

from __future__ import annotations

from collections.abc import Iterator

_END = b"\r\n\r\n"


def refold(content: bytes, longest: int) -> bytes:
    """`content`, whose lines end with CRLF, and no header line longer than `longest` octets where that can be."""
    end = content.find(_END)
    header, rest = (content, b"") if end < 0 else (content[:end], content[end:])
    lines = header.split(b"\r\n")
    if all(len(line) <= longest for line in lines):
        return content
    return b"\r\n".join(piece for line in lines for piece in _pieces(line, longest)) + rest


def _pieces(line: bytes, longest: int) -> Iterator[bytes]:
    """The line cut before white space. No piece is white space alone: some would read it as the end of the section."""
    while len(line) > longest:
        cut = max(line.rfind(b" ", 1, longest + 1), line.rfind(b"\t", 1, longest + 1))
        if cut < 1 or not line[:cut].strip(b" \t") or not line[cut:].strip(b" \t"):
            break
        yield line[:cut]
        line = line[cut:]
    yield line
