from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import content as content_module
from gateway.content import (
    MAX_HEADER,
    SEARCHED_AT_ONCE,
    ContentError,
    ContentFault,
    Inspected,
    Trace,
    inspect,
    prepare,
)

TRACE = Trace(
    attempt_id="0123456789abcdef0123456789abcdef",
    message_ulid="01JD6Z3Q9Y8N5V2K7M4T1R0XWB",
    received_at=datetime(2026, 11, 21, 10, 30, tzinfo=UTC),
    hostname="gw.example.org",
    client_address="192.0.2.7",
    helo="erp.example.org",
    protocol="ESMTP",
)
COMPLETE = (
    b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nFrom: shop@example.org\r\nTo: bob@example.net\r\n"
    b"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nSubject: Hello\r\n"
)
ADDED = (
    b"X-Sesgate-Attempt: 0123456789abcdef0123456789abcdef\r\n"
    b"Received: from erp.example.org ([192.0.2.7])\r\n"
    b" by gw.example.org (sesgate) with ESMTP id 01JD6Z3Q9Y8N5V2K7M4T1R0XWB;\r\n"
    b" Sat, 21 Nov 2026 10:30:00 +0000\r\n"
)


def accept(content: bytes) -> Inspected:
    return inspect(content, refuse_bare_lf=False)


def fault_of(content: bytes, *, refuse_bare_lf: bool = False) -> tuple[ContentFault, int | None]:
    with pytest.raises(ContentError) as raised:
        inspect(content, refuse_bare_lf=refuse_bare_lf)
    return raised.value.fault, raised.value.line


def header_of(prepared: bytes) -> bytes:
    return prepared.partition(b"\r\n\r\n")[0] + b"\r\n"


def edited(fields: bytes) -> bytes:
    """What becomes of `fields` in a message that lacks nothing."""
    header = header_of(prepare(COMPLETE + fields + b"\r\nbody\r\n", TRACE))
    assert header.startswith(ADDED + COMPLETE)
    return header[len(ADDED + COMPLETE) :]


class TestInspect:
    def test_clean_content_is_stored_as_it_came(self):
        content = COMPLETE + b"\r\nbody \xff\x01\r\n..dots\r\n"
        assert accept(content).content is content

    def test_bare_lf_is_repaired_beside_crlf(self):
        assert accept(b"From: a@b.test\nTo: c@d.test\r\n\nx\n\r\ny").content == (
            b"From: a@b.test\r\nTo: c@d.test\r\n\r\nx\r\n\r\ny\r\n"
        )

    def test_bare_lf_is_refused_with_its_line_where_the_profile_says_so(self):
        assert fault_of(b"From: a@b.test\r\n\r\nx\ny\r\n", refuse_bare_lf=True) == (ContentFault.BARE_LF, 3)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"From: a@b.test\r\n\r\nx\ry\r\n", (ContentFault.BARE_CR, 3)),
            (b"From: a@b.test\r\n\r\nx\r\r\n.\r\n", (ContentFault.BARE_CR, 3)),
            (b"From: a@b.test\r\n\r\nx\r", (ContentFault.BARE_CR, 3)),
            (b"From: a@b.test\r\n\r\n\r\n\0\r\n", (ContentFault.NUL, 4)),
            (b"From: a@b.test\n\nx\ry\n", (ContentFault.BARE_CR, 3)),
        ],
    )
    def test_bare_cr_and_nul_are_refused_with_their_line(self, content, expected):
        assert fault_of(content) == expected

    @pytest.mark.parametrize("length", [998, 999])
    @pytest.mark.parametrize("before", [b"", b"x\r\n", b"\r\n" * 700, b"y" * 998 + b"\r\n", (b"z" * 501 + b"\r\n") * 3])
    @pytest.mark.parametrize("after", [b"", b"w\r\n", b"\r\n" * 700])
    def test_lines_may_have_998_octets(self, length, before, after):
        content = b"From: a@b.test\r\n\r\n" + before + b"x" * length + b"\r\n" + after
        if length == 998:
            assert accept(content).content == content
        else:
            assert fault_of(content) == (ContentFault.LINE_TOO_LONG, 3 + before.count(b"\n"))

    def test_long_line_without_an_end_is_refused(self):
        assert fault_of(b"From: a@b.test\r\n\r\n" + b"x" * 999) == (ContentFault.LINE_TOO_LONG, 3)

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", ContentFault.NO_FROM),
            (b"\r\nFrom: a@b.test\r\n", ContentFault.NO_FROM),
            (b"To: a@b.test\r\n\r\n", ContentFault.NO_FROM),
            (b"From: \r\n\r\n", ContentFault.NO_FROM),
            (b"From: a@b.test\r\nfrom : c@d.test\r\n\r\n", ContentFault.SEVERAL_FROM),
            (b"Received: x\r\n" * 51 + b"From: a@b.test\r\n\r\n", ContentFault.TOO_MANY_HOPS),
            (b"From: a@b.test\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", ContentFault.HEADER_TOO_LARGE),
            (b"From: a@b.test\r\n" + b" y\r\n" * 30_000 + b"\r\n", ContentFault.HEADER_TOO_LARGE),
            (ADDED * 3 + b"From: a@b.test\r\n\r\n", ContentFault.LOOP),
        ],
    )
    def test_header_section_is_refused(self, content, fault):
        assert fault_of(content) == (fault, None)

    @pytest.mark.parametrize(
        "line",
        [b"no field", b": empty", "Größe: 1".encode(), b"X\xe4: 1", b"X\x01: 1", b"two words: 1", b"From a@b.test Sat"],
    )
    def test_a_line_that_is_no_field_does_not_make_body_text_of_the_fields_behind_it(self, line):
        content = COMPLETE + line + b"\r\nBcc: hidden@example.net\r\n\r\nbody\r\n"
        assert fault_of(content) == (ContentFault.NOT_A_FIELD, 7)

    @pytest.mark.parametrize("line", [b"no field", b" From: a@b.test", b"From a@b.test Sat Nov 21 10:00:00 2026"])
    def test_the_first_line_must_be_a_field(self, line):
        assert fault_of(line + b"\r\n" + COMPLETE + b"\r\n") == (ContentFault.NOT_A_FIELD, 1)

    @pytest.mark.parametrize("fold", [b"", b"\r\n x"])
    def test_header_section_may_have_so_many_octets_and_no_more(self, fold):
        full = COMPLETE + b"X: x\r\n" * ((MAX_HEADER - len(COMPLETE) - 30) // 6)
        full += b"Y:" + b"y" * (MAX_HEADER - len(full) - 4 - len(fold)) + fold + b"\r\n"
        assert len(full) == MAX_HEADER
        assert accept(full + b"\r\nbody\r\n").facts.size == MAX_HEADER + 8
        too_large = (ContentFault.HEADER_TOO_LARGE, None)
        assert fault_of(full[:-2] + b"y\r\n\r\nbody\r\n") == too_large
        assert fault_of(full + b" a fold\r\n\r\nbody\r\n") == too_large
        assert fault_of(full + b"Z: z\r\n\r\nbody\r\n") == too_large
        assert fault_of(full + b"no field\r\n\r\n") == (ContentFault.NOT_A_FIELD, full.count(b"\n") + 1)

    def test_header_field_of_any_length_is_refused_after_no_more_than_a_header_section_is_read(self, monkeypatch):
        read: list[int] = []

        class Reader:
            def __init__(self, pattern: re.Pattern[bytes]) -> None:
                self._pattern = pattern

            def match(self, content: bytes, start: int, end: int) -> re.Match[bytes] | None:
                read.append(end)
                return self._pattern.match(content, start, end)

        monkeypatch.setattr("gateway.content._FIELD", Reader(content_module._FIELD))
        folded = COMPLETE + b"X:" + b" x\r\n" * 1_000_000
        assert fault_of(folded + b"\r\nbody\r\n") == (ContentFault.HEADER_TOO_LARGE, None)
        assert set(read) == {MAX_HEADER + 1}

    @pytest.mark.parametrize("offset", [-2, -1, 0, 1])
    @pytest.mark.parametrize(
        ("bare", "fault"), [(b"\rx", ContentFault.BARE_CR), (b"x\n", ContentFault.BARE_LF)], ids=["CR", "LF"]
    )
    def test_bare_line_end_is_found_wherever_a_search_for_it_ends(self, bare, fault, offset):
        content = COMPLETE + b"\r\n"
        before = 2 * SEARCHED_AT_ONCE + offset - len(content)
        content += b"\r\n" * (before // 2) + b"x" * (before % 2)
        line = content.count(b"\n") + 1
        assert fault_of(content + bare + b"\r\n", refuse_bare_lf=True) == (fault, line)

    @pytest.mark.parametrize("offset", [-2, -1, 0, 1])
    def test_line_end_across_two_searches_is_not_bare(self, offset):
        content = COMPLETE + b"\r\n"
        content += b"x" * (SEARCHED_AT_ONCE % 2 + (offset - len(content)) % 2)
        content += b"\r\n" * ((SEARCHED_AT_ONCE + offset - len(content)) // 2 + 10)
        line = content.count(b"\n") + 1
        assert fault_of(content + b"x\ry", refuse_bare_lf=True) == (ContentFault.BARE_CR, line)
        assert fault_of(content + b"x\ny", refuse_bare_lf=True) == (ContentFault.BARE_LF, line)

    def test_a_header_section_may_end_with_the_content(self):
        assert accept(COMPLETE).content == COMPLETE

    def test_fifty_hops_two_of_them_ours_are_no_loop(self):
        assert accept(ADDED * 2 + b"Received: x\r\n" * 48 + b"From: a@b.test\r\n\r\n")

    def test_fields_of_the_body_are_not_counted(self):
        assert accept(b"From: a@b.test\r\n\r\nFrom: c@d.test\r\n" + b"Received: x\r\n" * 60)

    @pytest.mark.parametrize(
        ("value", "subject"),
        [
            (b"Hello", "Hello"),
            (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?iso-8859-1?q?_=FC?=", "Grüße ü"),
            (b"plain =?utf-8?b?w7w=?= mixed", "plain ü mixed"),
            (b"=?utf-8?b?=== broken", "=?utf-8?b?=== broken"),
            (b"=?no-such-charset?q?x?=", "=?no-such-charset?q?x?="),
            ("Grüße".encode(), "Grüße"),
            (b"Gr\xfc\xdfe \x80", "Grüße €"),
            (b"undefined there \x81", "undefined there"),
            (b"folded\r\n\tvalue", "folded value"),
            (b"\x1b[31mred\x07\x7f", "[31mred"),
            (b"=?utf-8?q?a=0D=0Ab=00c?=", "a b c"),
            (b"x" * 900, "x" * 200),
        ],
    )
    def test_subject_is_decoded_printable_and_short(self, value, subject):
        assert accept(b"From: a@b.test\r\nSubject: " + value + b"\r\n\r\n").facts.subject == subject

    def test_facts_name_author_message_id_and_size(self):
        content = b"From: =?utf-8?q?J=C3=B6rg?= <j@b.test>\r\nMessage-ID:\r\n <1@b.test>\r\n\r\nx\r\n"
        facts = accept(content).facts
        assert (facts.header_from, facts.header_message_id, facts.size) == (
            "Jörg <j@b.test>",
            "<1@b.test>",
            len(content),
        )

    def test_size_is_that_of_the_repaired_content(self):
        assert accept(b"From: a@b.test\n\n\n").facts.size == 20

    def test_missing_subject_and_message_id_are_nothing(self):
        facts = accept(b"From: a@b.test\r\n\r\n").facts
        assert (facts.subject, facts.header_message_id) == ("", None)


class TestPrepare:
    def test_complete_message_gets_only_its_trace_fields(self):
        content = COMPLETE + b"\r\nbody\r\n"
        assert prepare(content, TRACE) == ADDED + content

    def test_missing_fields_are_added_the_same_for_each_attempt(self):
        prepared = prepare(b"From: a@b.test\r\n\r\nbody\r\n", TRACE)
        assert prepared == (
            ADDED + b"From: a@b.test\r\nDate: Sat, 21 Nov 2026 10:30:00 +0000\r\n"
            b"Message-ID: <01JD6Z3Q9Y8N5V2K7M4T1R0XWB@gw.example.org>\r\nMIME-Version: 1.0\r\n\r\nbody\r\n"
        )

    @pytest.mark.parametrize(
        "field",
        [
            b"Bcc: secret@example.net\r\n",
            b"Resent-Bcc: secret@example.net\r\n",
            b"BCC : a@b.test,\r\n\tc@d.test\r\n",
            b"X-SES-Configuration-Set: other\r\n",
            b"x-ses-source-arn:\r\n arn:aws:ses\r\n",
            b"X-Sesgate-Attempt: forged\r\n",
            b"DKIM-Signature: v=1;\r\n b=abc\r\n\tdef\r\n",
            b"Bcc: \xff\r\n",
        ],
    )
    def test_removed_fields_go_with_their_folds_wherever_they_stand(self, field):
        assert edited(field + b"X-Kept: 1\r\n" + field + field) == b"X-Kept: 1\r\n"

    @pytest.mark.parametrize(
        "field",
        [
            b"Subject: a second one\r\n",
            b"X-Sesame: 1\r\nXX-SES-A: 2\r\nBccc: 3\r\n",
            b"X-Long:  two  spaces \t \r\n\tand a fold\r\n \r\n",
            b"Received: from a by b; Sat, 21 Nov 2026 09:00:00 +0000\r\n",
            b"To:a@b.test\r\n",
            b"X-Control: \x01\x7f\r\n",
            b"X-998: " + b"x" * 991 + b"\r\n",
        ],
    )
    def test_other_fields_stay_as_they_are(self, field):
        assert edited(field) == field

    def test_header_section_without_a_body_gets_its_empty_line(self):
        assert prepare(COMPLETE, TRACE) == ADDED + COMPLETE + b"\r\n"

    def test_field_of_a_part_of_the_body_is_not_touched(self):
        body = b"--b\r\nBcc: x\r\nX-SES-A: 1\r\n\xff\r\n--b--\r\n"
        assert prepare(COMPLETE + b"\r\n" + body, TRACE).endswith(b"\r\n\r\n" + body)

    @pytest.mark.parametrize(
        ("client_address", "literal"),
        [
            ("192.0.2.7", b"([192.0.2.7])"),
            ("2001:db8::1", b"([IPv6:2001:db8::1])"),
            ("fe80::1%eth0", b"([IPv6:fe80::1])"),
            ("/run/socket", b"(unknown)"),
        ],
    )
    def test_client_address_is_a_literal_of_rfc_5321(self, client_address, literal):
        trace = Trace(**{**_fields(TRACE), "client_address": client_address})
        assert literal in prepare(COMPLETE, trace).split(b"\r\n")[1]

    @pytest.mark.parametrize(
        ("helo", "written"),
        [
            ("WIN_PC", b"WIN_PC"),
            ("[192.0.2.9]", b"[192.0.2.9]"),
            ("a (b) <c>; d\r\nX: y", b"a--b---c---d--X:-y"),
            ("jörg", b"j-rg"),
            ("", b"unknown"),
        ],
    )
    def test_helo_says_nothing_but_a_name(self, helo, written):
        trace = Trace(**{**_fields(TRACE), "helo": helo})
        assert prepare(COMPLETE, trace).split(b"\r\n")[1] == b"Received: from " + written + b" ([192.0.2.7])"


def _fields(trace: Trace) -> dict:
    return {name: getattr(trace, name) for name in Trace.__slots__}


class TestEncoding:
    @pytest.mark.parametrize("charset", ["utf-8", "cp1252"])
    def test_unstructured_text_reads_as_before(self, charset):
        field = edited("Subject: Grüße aus dem schönen München an alle\r\n".encode(charset))
        assert field.startswith(b"Subject: =?utf-8?b?")
        assert b" aus dem\r\n =?" in field
        assert decoded(field) == "Grüße aus dem schönen München an alle"

    def test_folds_and_long_runs_become_words_of_at_most_75_characters(self):
        field = edited(("Subject: " + "ü" * 300 + "\r\n " + "日本" * 40 + "\r\n").encode())
        assert all(len(word) <= 75 for word in field.split())
        assert all(len(line) <= 76 for line in field.splitlines())
        assert decoded(field) == "ü" * 300 + " " + "日本" * 40

    def test_spaces_beside_an_encoded_word_of_the_client_are_kept(self):
        assert decoded(edited("Subject: =?utf-8?q?a?= ü =?utf-8?q?b?= c\r\n".encode())) == "a ü b c"

    @pytest.mark.parametrize(
        ("value", "encoded"),
        [
            ("Jörg <j@example.net>", b"=?utf-8?b?SsO2cmc=?= <j@example.net>"),
            ('"Müller, Jörg" <j@example.net>', b"=?utf-8?b?TcO8bGxlciwgSsO2cmc=?= <j@example.net>"),
            ('"J\\"ö" <j@example.net>', b"=?utf-8?b?SiLDtg==?= <j@example.net>"),
            ("a@b.test, Jörg <j@example.net>", b"a@b.test, =?utf-8?b?SsO2cmc=?= <j@example.net>"),
            ('"A, B" <a@b.test>, ö <c@d.test>', b'"A, B" <a@b.test>, =?utf-8?b?w7Y=?= <c@d.test>'),
            ("a@b.test (Jörg (x))", b"a@b.test (=?utf-8?b?SsO2cmcg?=(x))"),
            ("x <x@exämple.test>", b"x <x@xn--exmple-cua.test>"),
            ("x@exämple.test", b"x@xn--exmple-cua.test"),
            ("Größe: a@b.test, c@d.test;", b"=?utf-8?b?R3LDtsOfZQ==?= : a@b.test, c@d.test;"),
            ("Jörg", b"=?utf-8?b?SsO2cmc=?="),
            ("<jörg@b.test>", b"<=?utf-8?b?asO2cmc=?=@b.test>"),
            ('Jörg "open <a@b.test>', b'=?utf-8?b?SsO2cmc=?= "open <a@b.test>'),
        ],
    )
    def test_address_fields_are_encoded_in_their_structure(self, value, encoded):
        assert edited(f"Cc: {value}\r\n".encode()) == b"Cc: " + encoded + b"\r\n"

    @pytest.mark.parametrize(
        ("value", "encoded"),
        [
            ('attachment; filename="ü.pdf"', b"attachment; filename*=utf-8''%C3%BC.pdf"),
            ("attachment; filename=ü.pdf; size=1", b"attachment; filename*=utf-8''%C3%BC.pdf; size=1"),
            ('attachment; x="a;b"; filename="ü;b"', b"attachment; x=\"a;b\"; filename*=utf-8''%C3%BC%3Bb"),
            ("attachment; filename*=utf-8''ü", b"attachment; filename*=utf-8''%C3%BC"),
        ],
    )
    def test_parameters_are_encoded_by_rfc_2231(self, value, encoded):
        assert edited(f"Content-Disposition: {value}\r\n".encode()) == b"Content-Disposition: " + encoded + b"\r\n"

    def test_long_parameter_is_continued_and_reads_as_before(self):
        field = edited(('Content-Disposition: attachment; filename="' + "ü" * 200 + '.pdf"\r\n').encode())
        assert b"filename*0*=utf-8''" in field
        assert all(len(line) < 200 for line in field.splitlines())
        assert message_from_bytes(field + b"\r\n", policy=policy.default).get_filename() == "ü" * 200 + ".pdf"

    def test_message_identifiers_and_urls_stay_one_token(self):
        assert edited("References: <a@b> <ö@b>\r\n".encode()) == b"References: <a@b> <%C3%B6@b>\r\n"


def decoded(field: bytes) -> str:
    _, _, value = field.decode("ascii").partition(":")
    return str(make_header(decode_header(value.replace("\r\n", "").strip())))


FIELD_NAMES = st.sampled_from(
    [b"Subject", b"To", b"CC", b"From", b"Content-Type", b"Content-Disposition", b"References", b"List-ID", b"X-Any",
     b"Bcc", b"Resent-Bcc", b"X-SES-Tag", b"DKIM-Signature", b"Received", b"Date", b"Sender"]
)  # fmt: skip
PIECES = st.sampled_from(
    [b"a", b" ", b"\t", b'"', b"\\", b"(", b")", b"<", b">", b"@", b",", b";", b":", b"=", b"=?", b"?=", b"*", b"\r\n ",
     "ü".encode(), "日".encode(), b"\xfc", b"\x81", "\u0085".encode(), b"\xc3", b"\x01", b".", b"filename", b"b.test",
     b"x" * 300]
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=40).map(b"".join)
MESSAGES = st.builds(
    lambda fields, body: b"From: a@b.test\r\n" + b"".join(n + b":" + v + b"\r\n" for n, v in fields) + body,
    st.lists(st.tuples(FIELD_NAMES, VALUES), max_size=8),
    st.one_of(st.binary(max_size=200).map(lambda body: b"\r\n" + body), st.just(b""), st.just(b"no field\r\n\xff\r\n")),
)


class TestProperties:
    @given(MESSAGES)
    def test_whatever_was_accepted_can_be_prepared(self, message):
        try:
            content = accept(message).content
        except ContentError:
            return
        prepared = prepare(content, TRACE)
        header, _, body = prepared.partition(b"\r\n\r\n")
        assert header.startswith(ADDED)
        assert header.isascii()
        assert all(len(line) <= 998 for line in header.split(b"\r\n"))
        assert not re.search(rb"(?im)^((resent-)?bcc|dkim-signature|x-ses-[^:]*)[ \t]*:", header)
        assert b"\n" not in header.replace(b"\r\n", b"")
        end = len(content) - len(body)
        assert content[end:] == body

    @given(MESSAGES)
    def test_second_preparation_changes_only_the_lines_it_adds(self, message):
        try:
            once = prepare(accept(message).content, TRACE)
        except ContentError:
            return
        attempt, _, rest = once.partition(b"\r\n")
        assert prepare(once, TRACE) == ADDED + rest
        assert attempt.startswith(b"X-Sesgate-Attempt:")

    @given(st.binary())
    def test_any_bytes_are_either_refused_or_kept_with_crlf_only(self, message):
        try:
            content = accept(message).content
        except ContentError:
            return
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")

    @given(st.lists(st.sampled_from([b"\r\n", b"\n", b"a", b"."]), max_size=60).map(b"".join))
    def test_repair_changes_line_ends_only(self, body):
        content = accept(b"From: a@b.test\r\n\r\n" + body).content
        repaired = content.removeprefix(b"From: a@b.test\r\n\r\n")
        assert repaired.replace(b"\r\n", b"\n").rstrip(b"\n") == body.replace(b"\r\n", b"\n").rstrip(b"\n")

    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1))
    def test_text_of_a_subject_survives_encoding(self, text):
        field = edited(f"Subject: ü {text} ü\r\n".encode())
        assert decoded(field) == f"ü {text} ü" or "=?" in text
