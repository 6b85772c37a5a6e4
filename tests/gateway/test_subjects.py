from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import AddressError, address_key, parse_mailbox
from gateway.subjects import Subject, domain_key_of, entry_key, is_of_domain, parse_subject, subject_of


@pytest.mark.parametrize(
    ("text", "address", "key", "is_domain"),
    [
        ("Jane@Example.com", "Jane@Example.com", "jane@example.com", False),
        ("@Example.com", "@Example.com", "@example.com", True),
        ("Example.com", "@Example.com", "@example.com", True),
        ("@localhost", "@localhost", "@localhost", True),
        ("xn--bcher-kva.example", "@xn--bcher-kva.example", "@xn--bcher-kva.example", True),
        ('"@"@example.com', '"@"@example.com', "@@example.com", False),
        ('""@example.com', '""@example.com', '""@example.com', False),
    ],
)
def test_an_address_or_a_domain_is_read(text, address, key, is_domain):
    subject = parse_subject(text)
    assert (subject, str(subject)) == (Subject(address, key), address)
    assert subject.is_domain is is_domain


@pytest.mark.parametrize(
    "text", ["", "@", "jane", "a b.example", "jane@", "@a..b", "@a@b", "bücher.example", "a/b.example"]
)
def test_what_is_neither_is_refused(text):
    with pytest.raises(AddressError):
        parse_subject(text)


def test_a_domain_is_no_longer_than_the_dns_allows():
    with pytest.raises(AddressError, match="too long"):
        parse_subject("@" + ".".join(["a" * 63] * 4) + ".example")


@given(st.emails())
def test_a_mailbox_has_the_key_of_its_domain(text):
    mailbox = parse_mailbox(text)
    assert subject_of(mailbox).key == mailbox.key
    assert domain_key_of(mailbox.key) == parse_subject("@" + mailbox.domain).key


@given(st.one_of(st.text(), st.text(alphabet='"@\\\\a ')), st.text())
def test_no_address_has_the_key_of_a_domain(local_part, domain):
    assert not is_of_domain(address_key(f"{local_part}@{domain}"))


def test_a_scope_is_behind_a_slash():
    assert entry_key("jane@example.com") == "jane@example.com"
    assert entry_key("@example.com", "shop") == "@example.com/shop"
