from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import (
    AddressError,
    Mailbox,
    a_labels,
    address_key,
    parse_forward_path,
    parse_mailbox,
    reported_address,
)

LONG_LABEL = "a" * 63


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("a@b", "a", "b"),
        ("First.Last@Example.COM", "First.Last", "Example.COM"),
        ("user+label=x@example.com", "user+label=x", "example.com"),
        ("!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~", "example.com"),
        ('"a b"@example.com', '"a b"', "example.com"),
        ('"a@b"@example.com', '"a@b"', "example.com"),
        (r'"a\"b\\c"@example.com', r'"a\"b\\c"', "example.com"),
        ('""@example.com', '""', "example.com"),
        ("a@xn--bcher-kva.example", "a", "xn--bcher-kva.example"),
        (f"{'a' * 64}@example.com", "a" * 64, "example.com"),
        (f"a@{LONG_LABEL}.example", "a", f"{LONG_LABEL}.example"),
    ],
)
def test_a_mailbox_is_read(text, local_part, domain):
    mailbox = parse_mailbox(text)
    assert mailbox == Mailbox(local_part, domain)
    assert str(mailbox) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # Control characters become header lines, NULs break a database: no octet of the kind anywhere.
        ("a\rX: y@example.com", "control"),
        ('"a\rX: y"@example.com', "control"),
        ('"\\\rX"@example.com', "control"),
        ("a\nb@example.com", "control"),
        ("a\0b@example.com", "control"),
        ("a@example.com\x01", "control"),
        ('"\x7f"@example.com', "control"),
        ("a\tb@example.com", "control"),
        # Whatever is not ASCII, lone surrogates too.
        ("\udcff@example.com", "ASCII"),
        ("jörg@example.com", "ASCII"),
        ("a@bücher.example", "ASCII"),
        ("a\u2028b@example.com", "ASCII"),
        # Source routes.
        ("@relay:user@victim.example", "local part"),
        ("@a,@b:user@victim.example", "local part"),
        # No domain, nothing at all.
        ("user", "domain"),
        ("", "domain"),
        ("<>", "domain"),
        ("@example.com", "domain"),
        ("user@", "domain"),
        # Loose syntax.
        ("<a@example.com>", "local part"),
        ("a@example.com>", "domain"),
        ("(c)a@example.com", "local part"),
        ("a b@example.com", "local part"),
        (".a@example.com", "local part"),
        ("a.@example.com", "local part"),
        ("a..b@example.com", "local part"),
        ('"a"b@example.com', "local part"),
        ('"a"b"@example.com', "local part"),
        ('"a@example.com', "local part"),
        ("a@b@example.com", "local part"),
        ("a@-example.com", "domain"),
        ("a@example-.com", "domain"),
        ("a@example..com", "domain"),
        ("a@example.com.", "domain"),
        ("a@.example.com", "domain"),
        ("a@exa_mple.com", "domain"),
        ("a@exam ple.com", "domain"),
        ("a@[192.0.2.1]", "domain"),
        (f"a@{LONG_LABEL}a.example", "domain"),
        # Too long.
        (f"{'a' * 65}@example.com", "64"),
        (f"a@{'.'.join([LONG_LABEL] * 4)}.x", "too long"),
        (f"{'a' * 64}@{'.'.join([LONG_LABEL] * 3)}", "too long"),
    ],
)
def test_what_is_no_mailbox_is_refused_with_a_reason_that_does_not_repeat_it(text, reason):
    with pytest.raises(AddressError, match=reason) as refused:
        parse_mailbox(text)
    assert str(refused.value).isascii()
    assert str(refused.value).isprintable()
    assert len(text) < 10 or text not in str(refused.value)


def test_the_longest_path_has_256_octets_with_its_brackets():
    domain = ".".join([LONG_LABEL] * 3)
    text = f"{'a' * (254 - len(domain) - 1)}@{domain}"
    assert len(f"<{text}>") == 256
    assert str(parse_mailbox(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "user%victim.example@gateway.example",
        "victim.example!user@gateway.example",
        '"user@victim.example"@gateway.example',
        '"user:x"@gateway.example',
        "%@example.com",
    ],
)
def test_a_forward_path_that_asks_for_routing_is_refused(text):
    assert parse_mailbox(text)
    with pytest.raises(AddressError, match="routing"):
        parse_forward_path(text)


def test_an_ordinary_forward_path_is_a_mailbox():
    assert parse_forward_path("user+label@example.com") == Mailbox("user+label", "example.com")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bob@Example.com", "bOB@eXAMPLE.COM"),
        ("bob@example.com.", "bob@example.com"),
        ("  bob@example.com\n", "bob@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "A@XN--BCHER-KVA.EXAMPLE"),
        (unicodedata.normalize("NFD", "jörg@example.com"), "jörg@example.com"),
        (unicodedata.normalize("NFD", "a@bücher.example"), "a@bücher.example"),
        ('"bob"@example.com', "bob@example.com"),
        (r'"b\ob"@example.com', "bob@example.com"),
        ('"Bob"@example.com', '"bOB"@EXAMPLE.com'),
    ],
)
def test_spellings_of_one_mailbox_share_a_key(one, other):
    assert address_key(one) == address_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob@example.com", "bob@example.net"),
        ("bob@example.com", "bob+x@example.com"),
        ("bob@example.com", "b.ob@example.com"),
        ('"a b"@example.com', "ab@example.com"),
        ("bob@a.example.com", "bob@example.com"),
    ],
)
def test_different_mailboxes_have_different_keys(one, other):
    assert address_key(one) != address_key(other)


def test_the_key_of_a_mailbox_is_that_of_its_text():
    assert parse_mailbox("Bob@Example.com").key == "bob@example.com"


@given(st.text(max_size=80))
def test_a_key_can_be_made_of_any_text(text):
    key = address_key(text)
    assert "@" in key
    assert key == address_key(text)


@given(st.emails())
def test_an_address_has_the_key_of_its_key(address):
    assert address_key(address_key(address)) == address_key(address)
    assert address_key(address.upper()) == address_key(address)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a@example.com", "a@example.com"),
        ("Anna Adams <a@example.com>", "a@example.com"),
        ('"Adams, Anna" <a@example.com>', "a@example.com"),
        ("<a@example.com>", "a@example.com"),
        ("  a@example.com ", "a@example.com"),
        ("a@b@example.com", "a@b@example.com"),
        ("no address here", "no address here"),
        ("", ""),
    ],
)
def test_the_bare_address_in_what_ses_reports(text, address):
    assert reported_address(text) == address


@pytest.mark.parametrize("dot", [".", "\u3002", "\uff0e", "\uff61"])
def test_any_dot_of_idna_ends_a_label(dot):
    assert a_labels(dot.join(["ü" + "b" * 40] * 3)).count(".") == 2


@pytest.mark.parametrize("domain", ["例" * 64, ".".join(["ü" * 10] * 24), "例" * 1_000_000])
def test_a_domain_that_is_too_long_has_no_a_labels_and_its_key_is_its_text(domain):
    """The last of them would keep the codec busy for hours."""
    with pytest.raises(UnicodeError, match="too long"):
        a_labels(domain)
    assert address_key(f"A@{domain}") == f"a@{domain}"
