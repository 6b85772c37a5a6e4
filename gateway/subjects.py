"""Whom a suppression is about: one address, or everybody at a domain."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.addresses import AddressError, Mailbox, parse_domain, parse_mailbox


@dataclass(frozen=True, slots=True)
class Subject:
    """`Jane@example.com`, or `@example.com`: everybody there, but nobody at its subdomains.

    `address` is how it was spelled, `key` what all spellings share. Nothing stands before the last @ of a domain's key;
    before that of an address something always does.
    """

    address: str
    key: str

    def __str__(self) -> str:
        return self.address

    @property
    def is_domain(self) -> bool:
        return is_of_domain(self.key)


def parse_subject(text: str) -> Subject:
    """Read `jane@example.com`, `@example.com` or `example.com`; AddressError when it is neither address nor domain."""
    local_part, at, domain = text.rpartition("@")
    if local_part:
        return subject_of(parse_mailbox(text))
    domain = parse_domain(domain)
    if not at and "." not in domain:
        raise AddressError("an address has an @ in it, a domain a dot (write an @ before a domain without one)")
    return Subject(f"@{domain}", domain_key(domain))


def subject_of(mailbox: Mailbox) -> Subject:
    return Subject(str(mailbox), mailbox.key)


def domain_key(domain: str) -> str:
    """The key of everybody at a domain."""
    return f"@{domain.casefold()}"


def domain_key_of(address_key: str) -> str:
    """The key of the domain that the address with this key is at."""
    return "@" + address_key.rpartition("@")[2]


def is_of_domain(key: str) -> bool:
    """Whether a subject's key, or that of a suppression, is about a whole domain."""
    return key.rfind("@") == 0


def entry_key(subject_key: str, scope: str = "") -> str:
    """The key of a suppression: its subject's, and behind a slash the credential that it is only for.

    No domain and no name of a credential has a slash or an @ in it, so that one key means one thing.
    """
    return f"{subject_key}/{scope}" if scope else subject_key
