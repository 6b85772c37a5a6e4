from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.refolding import refold as refold_within

MAX_HEADER = 1000
BODY = b"\r\n\r\n" + b"y" * 90 + b" " + b"z" * 90 + b"\r\n"


def refold(content: bytes, longest: int) -> bytes:
    return refold_within(content, longest, header_within=MAX_HEADER)


def test_a_long_field_is_folded_before_white_space():
    words = b"References: " + b" ".join(b"<%03d@example.org>" % number for number in range(20))
    folded = refold(b"From: a@b.test\r\n" + words + BODY, 78)
    header, _, body = folded.partition(b"\r\n\r\n")
    lines = header.split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert all(line.startswith(b" <") for line in lines[2:])
    assert header.replace(b"\r\n ", b" ") == b"From: a@b.test\r\n".replace(b"\r\n ", b" ") + words
    assert body == BODY[4:]


@pytest.mark.parametrize(
    "header",
    [b"Subject: short", b"X:" + b"x" * 99, b"X: x\r\n" + b" " * 99, b"X: x" + b" " * 99, b" " * 99 + b"x", b""],
)
def test_what_cannot_be_folded_stays(header):
    assert refold(header + BODY, 78).endswith(BODY)
    assert b"\r\n \r\n" not in refold(header + BODY, 78)


@settings(deadline=None)
@given(st.lists(st.text("ab :\t", max_size=60).map(str.encode), max_size=6), st.integers(5, 20))
def test_taking_out_the_new_breaks_gives_the_same_octets(lines, longest):
    header = b"\r\n".join(lines)
    folded = refold(header + BODY, longest)
    assert folded.replace(b"\r\n", b"") == (header + BODY).replace(b"\r\n", b"")
    assert folded.endswith(BODY) or b"\r\n\r\n" in header + b"\r\n"
    for line in folded.split(b"\r\n"):
        assert line.strip() or line in (header + BODY).split(b"\r\n")


def test_a_header_section_of_the_greatest_size_is_folded_and_a_longer_one_is_left_alone():
    longest = b"X:" + b" x" * (MAX_HEADER // 2 - 1)
    assert len(longest) == MAX_HEADER
    assert max(map(len, refold(longest + BODY, 78).partition(BODY)[0].split(b"\r\n"))) <= 78
    longer = longest + b"x" + BODY
    assert refold(longer, 78) is longer


@pytest.mark.parametrize("header", [b"X:" + b" x" * 14_000_000, b"X:\r\n" * 7_000_000], ids=["a line", "lines"])
@pytest.mark.parametrize("rest", [BODY, b""], ids=["ended", "endless"])
def test_a_header_section_without_an_end_in_reach_costs_nothing(header, rest):
    """The one line took more than a minute when each cut copied what was left of it."""
    content = header + rest
    assert refold(content, 998) is content
