"""Header fields and the mailboxes in them."""

from __future__ import annotations

import pytest

from gateway.sandbox import mime
from gateway.sandbox.mime import Header


@pytest.mark.parametrize(
    ("raw", "section"),
    [
        (b"A: b\r\n\r\nbody\n\n", b"A: b"),
        (b"A: b\n\nbody\r\n\r\n", b"A: b"),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"", b""),
    ],
)
def test_the_header_section_ends_at_the_first_empty_line(raw: bytes, section: bytes):
    assert mime.header_section(raw) == section


def test_folded_fields_are_unfolded_and_8_bit_ones_survive():
    found = mime.headers("Subject: a\r\n b\r\n\tc\r\nX: ü\r\nY: \xff".encode("latin-1").replace(b"\xfc", "ü".encode()))
    assert found == [Header("Subject", "a b\tc"), Header("X", "ü"), Header("Y", "\ufffd")]


def test_a_line_that_is_no_field_ends_the_section():
    assert mime.headers(b"A: 1\r\nnot a field\r\nB: 2") == [Header("A", "1")]


@pytest.mark.parametrize(
    ("value", "mailboxes"),
    [
        ("a@example.com", ["a@example.com"]),
        ('"B, C" <b@example.com>, d@example.com', ["b@example.com", "d@example.com"]),
        ("e@example.com (a comment)", ["e@example.com"]),
        ('"quoted (no comment)"@example.com', ['"quoted (no comment)"@example.com']),
        ("undisclosed-recipients:;", []),
        ("f@exa mple.com", ["f@exa mple.com"]),
        ("nobody", ["nobody"]),
        ("", []),
    ],
)
def test_mailboxes_are_read_and_not_repaired(value: str, mailboxes: list[str]):
    assert mime.mailboxes([Header("To", value)], "to") == mailboxes


@pytest.mark.parametrize(
    ("value", "decoded"),
    [("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"), ("plain", "plain"), ("=?nonsense?q?x?=", "=?nonsense?q?x?=")],
)
def test_encoded_words_are_decoded_where_they_can_be(value: str, decoded: str):
    assert mime.decoded(value) == decoded
