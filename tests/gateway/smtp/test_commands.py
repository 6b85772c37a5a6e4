from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp import replies
from gateway.smtp.commands import in_ascii, is_foreign, parse_mail, parse_rcpt, tightened
from gateway.smtp.replies import RefusedError


@pytest.mark.parametrize(
    ("argument", "parsed"),
    [
        ("FROM:<a@b.test>", ("a@b.test", None)),
        ("from: <a@b.test>", ("a@b.test", None)),
        ("FROM:<>", ("", None)),
        ("FROM:<> SIZE=12", ("", 12)),
        ('FROM:<"a> b"@b.test> BODY=8BITMIME', ('"a> b"@b.test', None)),
        ('FROM:<"a\\"b"@b.test>', ('"a\\"b"@b.test', None)),
        ("FROM:<a@b.test> AUTH=<> RET=HDRS ENVID=QQ123 size=5 body=7bit", ("a@b.test", 5)),
    ],
)
def test_mail_is_parsed(argument, parsed):
    assert parse_mail(argument) == parsed


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", replies.MAIL_SYNTAX),
        ("FROM", replies.MAIL_SYNTAX),
        ("TO:<a@b.test>", replies.MAIL_SYNTAX),
        ("FROM:a@b.test", replies.MAIL_SYNTAX),
        ("FROM:<a@b.test", replies.MAIL_SYNTAX),
        ("FROM:<a@b.test>>", replies.MAIL_SYNTAX),
        ("FROM:<a@b.test>SIZE=1", replies.MAIL_SYNTAX),
        ('FROM:<"a@b.test>', replies.MAIL_SYNTAX),
        ("FROM:<a@b.test> SIZE=-1", replies.SIZE_SYNTAX),
        ("FROM:<a@b.test> SIZE=", replies.SIZE_SYNTAX),
        ("FROM:<a@b.test> SIZE=" + "9" * 21, replies.SIZE_SYNTAX),
        ("FROM:<a@b.test> BODY=BINARYMIME", replies.BODY_SYNTAX),
        ("FROM:<a@b.test> SMTPUTF8", replies.UNKNOWN_PARAMETER),
    ],
)
def test_mail_is_refused_with_the_reason(argument, reply):
    with pytest.raises(RefusedError) as refused:
        parse_mail(argument)
    assert refused.value.reply == reply


def test_rcpt_tolerates_the_parameters_of_dsn():
    assert parse_rcpt("TO:<a@b.test> NOTIFY=NEVER ORCPT=rfc822;a@b.test") == "a@b.test"


@pytest.mark.parametrize(
    ("argument", "reply"),
    [("FROM:<a@b.test>", replies.RCPT_SYNTAX), ("TO:<a@b.test> SIZE=1", replies.UNKNOWN_PARAMETER)],
)
def test_rcpt_is_refused_with_the_reason(argument, reply):
    with pytest.raises(RefusedError) as refused:
        parse_rcpt(argument)
    assert refused.value.reply == reply


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("FROM:<a@b.test>", "a@b.test"),
        ("FROM:a@b.test", "a@b.test"),
        ("FROM: a@b.test SIZE=12", "a@b.test"),
        ("from : <a@b.test>", "a@b.test"),
        ("FROM:< a@b.test > SIZE=12", "a@b.test"),
        ("FROM:<a@b.test", "a@b.test"),
        ("FROM:<a@b.test SIZE=12", "a@b.test"),
        ("FROM:a@b.test>", "a@b.test"),
        ("FROM:<>", ""),
        ("FROM: < >", ""),
        ('FROM:<"a> b"@b.test>', '"a> b"@b.test'),
    ],
)
def test_antique_syntax_is_tightened(argument, path):
    assert parse_mail(tightened(argument)) == (path, 12 if "SIZE" in argument else None)


@pytest.mark.parametrize(
    "argument", ["", "FROM", "FROM:", "FROM:<a@b.test>SIZE=1", 'FROM:"a b"@c.test', "FROM:<a b@c>"]
)
def test_what_is_not_understood_stays_refused(argument):
    with pytest.raises(RefusedError):
        parse_mail(tightened(argument))


@pytest.mark.parametrize(
    ("path", "in_labels"),
    [
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@例え.テスト", "a@xn--r8jz45g.xn--zckzah"),
        ("a@b.example", "a@b.example"),
    ],
)
def test_domains_become_a_labels(path, in_labels):
    assert in_ascii(f"RCPT TO:<{path}> NOTIFY=NEVER\r\n".encode()) == f"RCPT TO:<{in_labels}> NOTIFY=NEVER\r\n"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("RCPT TO:<jörg@b.test>".encode(), replies.NON_ASCII_ADDRESS),
        ("RCPT TO:<jörg@bücher.example>".encode(), replies.NON_ASCII_ADDRESS),
        ("RCPT TO:<jörg@b.test>".encode("latin-1"), replies.NON_ASCII_ADDRESS),
        ("RCPT TO:<a@straße.example>".encode(), replies.NON_ASCII_DOMAIN),
        ("RCPT TO:<a@ü..example>".encode(), replies.NON_ASCII_DOMAIN),
        ("RCPT TO:<a@b＞　SIZE=1>".encode(), replies.NON_ASCII_DOMAIN),
        ("RCPT TO:<a＠ü@b.test>".encode(), replies.NON_ASCII_ADDRESS),
    ],
)
def test_addresses_beyond_ascii_are_refused_with_the_reason(line, reply):
    with pytest.raises(RefusedError) as refused:
        in_ascii(line)
    assert refused.value.reply == reply


@pytest.mark.parametrize(
    "domain",
    [
        "例" * 64,
        "b." + "例" * 64,
        "\u3002".join(["例" * 50] * 6),
        "b。" + "例" * 64 + "｡test",
        "例" * 670,
        "\ufdfa" * 4,
    ],
)
def test_a_domain_that_is_too_long_is_an_error_and_not_encoded(domain, monkeypatch):
    encoded: list[str] = []
    monkeypatch.setattr("gateway.smtp.commands.a_labels", encoded.append)
    with pytest.raises(RefusedError) as refused:
        in_ascii(f"MAIL FROM:<a@{domain}>\r\n".encode())
    assert refused.value.reply == replies.NON_ASCII_DOMAIN
    assert refused.value.is_error
    assert encoded == []


@pytest.mark.parametrize("verb", ["GET", "POST", "BDAT", "CONNECT", "HOST:", "CONTENT-TYPE:"])
def test_other_protocols_are_known(verb):
    assert is_foreign(verb)
    assert not is_foreign("MAIL")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_argument_is_parsed_or_refused(argument):
    for parse in (parse_mail, parse_rcpt):
        with suppress(RefusedError):
            parse(argument)
