from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import senders
from gateway.content import Trace, inspect, prepare, senders_of
from gateway.senders import SenderAddress, SenderRewrite, other_readings

TRACE = Trace(
    attempt_id="0123456789abcdef0123456789abcdef",
    message_ulid="01JD6Z3Q9Y8N5V2K7M4T1R0XWB",
    received_at=datetime(2026, 11, 21, 10, 30, tzinfo=UTC),
    hostname="gw.example.org",
    client_address="192.0.2.7",
    helo="erp.example.org",
    protocol="ESMTP",
)
OWN = "mail@verified.test"


def mail(fields: bytes) -> bytes:
    return fields + b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\n\r\nbody\r\n"


def header(prepared: bytes) -> list[bytes]:
    """The fields without those that every mail gets."""
    section = prepared.partition(b"\r\n\r\n")[0] + b"\r\n"
    fields = re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", section)
    own = (b"X-Sesgate-Attempt", b"Received", b"Date", b"Message-ID", b"MIME-Version")
    return [field for field in fields if field.partition(b":")[0] not in own]


def rewritten(fields: bytes, *unverified: str) -> list[bytes]:
    return header(prepare(mail(fields), TRACE, SenderRewrite(frozenset(unverified), OWN)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"From: shop@example.org\r\n", [("From", "shop@example.org")]),
        (b"FROM :shop@example.org\r\n", [("From", "shop@example.org")]),
        (b"From: Shop <shop@example.org>\r\n", [("From", "shop@example.org")]),
        (b'From: "Shop, Inc. <x@y.test>" <shop@example.org>\r\n', [("From", "shop@example.org")]),
        (b"From: shop@example.org (Shop, Inc. <x@y.test>)\r\n", [("From", "shop@example.org")]),
        (b"From: Shop\r\n <shop@example.org\r\n >\r\n", [("From", "shop@example.org")]),
        (b'From: "the shop"@example.org\r\n', [("From", '"the shop"@example.org')]),
        (b"From: <@relay.test,@b.test:shop@example.org>\r\n", [("From", "shop@example.org")]),
        (b"From: a@b.test, C <c@d.test>\r\n", [("From", "a@b.test"), ("From", "c@d.test")]),
        (b"From: Us: a@b.test, c@d.test;\r\n", [("From", "a@b.test"), ("From", "c@d.test")]),
        (b"From: root (Cron Daemon)\r\n", [("From", "root")]),
        (b"From: <>\r\n", [("From", "")]),
        ("From: Größe <a@bücher.example>\r\n".encode(), [("From", "a@xn--bcher-kva.example")]),
        (b"From: undisclosed: a@b.test;\r\n", [("From", "a@b.test")]),
        (b"From: <a@b.test> (after)\r\n", [("From", "a@b.test")]),
        (b"From: root@my_host\r\n", [("From", "root@my_host")]),
        (b'From: "unbalanced <a@b.test>\r\n', []),
        (b"From: shop @ example.org\r\n", [("From", "shop@example.org", False)]),
        (b"From: <a@b.test> <c@d.test>\r\n", [("From", "c@d.test", False)]),
        (b"From: <a@b.test> after\r\n", [("From", "a@b.test", False)]),
        (b"From: <a@b.test>: c@d.test;\r\n", [("From", "c@d.test", False)]),
        (b"From: a@b.test: c@d.test;\r\n", [("From", "c@d.test", False)]),
        (b"From: <a@b.test>:<c@d.test>\r\n", [("From", "c@d.test", False)]),
        (b"From: =?utf-8?q?a=40b.test?=: c@d.test;\r\n", [("From", "c@d.test", False)]),
        (b"From: c@d.test, a@b.test:;\r\n", [("From", "c@d.test", False)]),
        (b"From: <a@b.test:c@d.test>\r\n", [("From", "c@d.test", False)]),
        (b"From: <@x.test,a@b.test:c@d.test>\r\n", [("From", "c@d.test", False)]),
        (b'From: <"a">@b.test>,"<c@d.test>\r\n', []),
        (b"From: a@b.test c@d.test\r\n", [("From", "a@b.testc@d.test", False)]),
        (b"From: <a@b.test c@d.test>\r\n", [("From", "a@b.testc@d.test", False)]),
        (b"From: =?utf-8?q?a=40b.test?= c@d.test\r\n", [("From", "=?utf-8?q?a=40b.test?=c@d.test", False)]),
        (b"From: a@b.test (x) @d.test\r\n", [("From", "a@b.test@d.test", False)]),
        (b"From: a@b.test\x01@d.test\r\n", [("From", "a@b.test\x01@d.test", False)]),
        (b"From: a@b.test@d.test\r\n", [("From", "a@b.test@d.test", False)]),
        (b"From: a@b.test" + b",\r\n c@d.test" * 1000 + b"\r\n", []),
        (
            b"Sender: s@b.test" + b" " * 900 + b"\r\n" + b"From: a@b.test\r\n",
            [("Sender", "s@b.test"), ("From", "a@b.test")],
        ),
        (
            (b"Sender: s@b.test" + b"\r\n  " * 1000 + b"\r\n") * 3 + b"From: a@b.test\r\n",
            [("Sender", "s@b.test")] * 2 + [("From", "a@b.test")],
        ),
        ((b"Sender: s@b.test\r\n") * 600 + b"From: a@b.test\r\n", [("Sender", "s@b.test")] * 546),
        (b"From: a@b.test\r\nReturn-Path: <>\r\n", [("From", "a@b.test")]),
        (
            b"Return-Path: <r@b.test>\r\nSender: s@b.test\r\nFrom: a@b.test\r\nReply-To: x@y.test\r\n",
            [("Return-Path", "r@b.test"), ("Sender", "s@b.test"), ("From", "a@b.test")],
        ),
    ],
)
def test_the_addresses_that_ses_checks(fields, expected):
    content = mail(fields)
    assert senders_of(content) == tuple(SenderAddress(*one) for one in expected)
    told = inspect(content, refuse_bare_lf=False).facts.senders
    assert sorted(told, key=str) == sorted(senders_of(content), key=str)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"From: bad@x.test\r\n", [b"From: mail@verified.test\r\n", b"Reply-To: bad@x.test\r\n"]),
        (
            b'From: "Shop, Inc." <bad@x.test>\r\n',
            [b'From: "Shop, Inc." <mail@verified.test>\r\n', b'Reply-To: "Shop, Inc." <bad@x.test>\r\n'],
        ),
        (
            b"From: bad@x.test (Shop)\r\n",
            [b"From: mail@verified.test (Shop)\r\n", b"Reply-To: bad@x.test (Shop)\r\n"],
        ),
        (
            b"From: =?utf-8?b?R3LDtsOfZQ==?=\r\n <bad@x.test>\r\n",
            [
                b"From: =?utf-8?b?R3LDtsOfZQ==?=\r\n <mail@verified.test>\r\n",
                b"Reply-To: =?utf-8?b?R3LDtsOfZQ==?=\r\n <bad@x.test>\r\n",
            ],
        ),
        (
            "From: Größe <bad@x.test>\r\n".encode(),
            [
                b"From: =?utf-8?b?R3LDtsOfZQ==?= <mail@verified.test>\r\n",
                b"Reply-To: =?utf-8?b?R3LDtsOfZQ==?= <bad@x.test>\r\n",
            ],
        ),
        (
            b"From: A <bad@x.test>\r\nReply-To: other@y.test\r\n",
            [b"From: A <mail@verified.test>\r\n", b"Reply-To: other@y.test\r\n"],
        ),
        (
            b"From: A <bad@x.test>, good@y.test\r\n",
            [b"From: A <mail@verified.test>\r\n", b"Reply-To: A <bad@x.test>, good@y.test\r\n"],
        ),
        (b"From: root (Cron Daemon)\r\n", [b"From: root (Cron Daemon) <mail@verified.test>\r\n"]),
        (b"From: <>\r\n", [b"From: <mail@verified.test>\r\n"]),
        (
            b"Sender: bad@x.test\r\nReturn-Path: <bad@x.test>\r\nFrom: A <bad@x.test>\r\n",
            [b"From: A <mail@verified.test>\r\n", b"Reply-To: A <bad@x.test>\r\n"],
        ),
        (
            b"From: good@y.test\r\nSender: Agent <bad@x.test>\r\nReturn-Path: <bad@x.test>\r\n",
            [b"From: good@y.test\r\n", b"Sender: Agent <mail@verified.test>\r\n"],
        ),
        (
            b"From: bad@x.test\r\nSender: good@y.test\r\nReturn-Path: <good@y.test>\r\n",
            [
                b"From: mail@verified.test\r\n",
                b"Sender: good@y.test\r\n",
                b"Return-Path: <good@y.test>\r\n",
                b"Reply-To: bad@x.test\r\n",
            ],
        ),
        (b"From: good@y.test\r\nReturn-Path: <>\r\n", [b"From: good@y.test\r\n", b"Return-Path: <>\r\n"]),
        (b'From: "unbalanced <bad@x.test>\r\n', [b'From: "unbalanced <bad@x.test>\r\n']),
    ],
)
def test_what_becomes_of_senders_that_ses_would_refuse(fields, expected):
    assert rewritten(fields, "bad@x.test", "root", "") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" Shop\r\n <a@b.test>", {"a@b.test"}),
        (' "c@d.test via Shop" <a@b.test>', {"a@b.test"}),
        (" =?utf-8?q?c=40d.test_via_Shop?= <a@b.test>", {"a@b.test"}),
        (" a@b.test (c@d.test)", {"a@b.test"}),
        (" Us: a@b.test, root;", {"a@b.test"}),
        (" c@d.test <a@b.test>", {"a@b.test", "c@d.test"}),
        (" root", set()),
        (" " + "x" * 2048 + " <a@b.test>", None),
        (" " + "(" * 1000 + ")" * 1000 + " a@b.test", None),
    ],
)
def test_what_other_readers_see(value, expected):
    assert other_readings(value) == expected


_NEARLY_PLAIN = st.lists(
    st.sampled_from(
        [
            "a@b.test",
            "Bob",
            "<",
            ">",
            " ",
            "\t",
            "@",
            ".",
            '"',
            "(",
            ")",
            ",",
            ";",
            ":",
            "\\",
            "=?utf-8?q?x?=",
            "\r\n ",
            "+",
            "-",
        ]
    ),
    max_size=9,
).map("".join)


@given(st.one_of(_NEARLY_PLAIN, st.text(st.characters(max_codepoint=126), max_size=30)))
def test_a_plain_field_reads_as_any_other_way_to_read_it(value):
    shortly, thoroughly = list(senders._of_field(b"from", value)), list(senders._of_any_field(b"from", value))
    assert shortly == thoroughly
    assert [one.written for one in shortly] == [one.written for one in thoroughly]


@pytest.mark.parametrize("value", [" <a@b.test>", " Bob B. <a+x@b-c.test> ", " a@b.test", " root", ' "B" <a@b.test>'])
def test_which_fields_are_plain(value):
    assert (senders._PLAIN.fullmatch(value) is not None) == (value[1] in "<Ba")


def test_a_field_that_is_too_long_is_not_read_even_if_it_is_plain():
    assert list(senders._of_field(b"from", "x" * senders.LONGEST_FIELD + "@b.test")) == []


def test_lines_stay_within_their_limit():
    fields = rewritten(b"From:" + b"x " * 490 + b"<b@x.test>\r\n", "b@x.test")
    assert max(len(line) for field in fields for line in field.split(b"\r\n")) <= 998
    assert fields[0].endswith(b" <mail@verified.test>\r\n")
    assert fields[1].startswith(b"Reply-To:")


ADDRESSES = st.sampled_from(["good@y.test", "bad@x.test", "Bad <bad@x.test>", '"A, B" <good@y.test>', "bad@x.test (c)"])
NAMES = st.sampled_from(["Sender", "Return-Path", "Reply-To", "To", "Subject", "X-From", "Resent-From", "Cc", "sender"])
FIELDS = st.lists(st.tuples(NAMES, ADDRESSES), max_size=6)


@given(author=ADDRESSES, before=FIELDS, after=FIELDS, body=st.binary(max_size=50))
def test_nothing_but_the_named_fields_is_changed(author, before, after, body):
    lines = [f"{name}: {value}\r\n".encode() for name, value in [*before, ("From", author), *after]]
    content = mail(b"".join(lines)) + body
    plain = prepare(content, TRACE)
    edited = prepare(content, TRACE, SenderRewrite(frozenset({"bad@x.test"}), OWN))
    assert edited.partition(b"\r\n\r\n")[2] == plain.partition(b"\r\n\r\n")[2]

    def others(prepared):
        named = {b"from", b"sender", b"return-path", b"reply-to"}
        return [field for field in header(prepared) if field.partition(b":")[0].lower() not in named]

    def answers(prepared):
        return [field for field in header(prepared) if field.startswith(b"Reply-To:")]

    assert others(edited) == others(plain)
    assert answers(edited) == answers(plain) or (not answers(plain) and "bad" in author)
    assert "bad@x.test" not in {one.address for one in senders_of(edited)}
    if "bad@x.test" not in {one.address for one in senders_of(content)}:
        assert edited == plain


@pytest.mark.parametrize(
    ("author", "becomes"),
    [
        (b"My Printer printer@bad.test", b"From: ok@x.test"),
        (b"<root@bad.test> Root", b"From: <ok@x.test> Root"),
        (b"<My Printer@bad.test>", b"From: <ok@x.test>"),
        (b"root@bad.test (x) root", b"From: ok@x.test (x)"),
        (b"a@bad.test, Bad One b@bad.test", b"From: ok@x.test"),
        (b'"X" <root@bad.test> <root@bad.test>', b'From: "X" <ok@x.test> '),
    ],
)
def test_an_unverified_author_that_is_spelled_badly_is_rewritten_too(author, becomes):
    field = (b"from", b"From: " + author + b"\r\n")
    unverified = frozenset(one.address for one in senders.sender_addresses([field]))
    made = dict(senders.rewritten([field], SenderRewrite(unverified, "ok@x.test")))
    assert made[b"from"] == becomes + b"\r\n"
    assert b"bad.test" in made[b"reply-to"]
