"""What is read from DNS, against a small server that answers on a UDP socket."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from gateway.aws.checks.dns import Lookup, look_at_dns
from gateway.aws.checks.identities import Details
from gateway.findings import Ledger, Level

DOMAIN = Details(
    "example.com", verified=True, dkim_status="SUCCESS", dkim_signs=True, dkim_tokens=("one", "two"), mail_from=""
)
GOOD = {
    ("one._domainkey.example.com.", "CNAME"): ["one.dkim.amazonses.com."],
    ("two._domainkey.example.com.", "CNAME"): ["two.dkim.amazonses.com."],
    ("_dmarc.example.com.", "TXT"): ['"v=DMARC1; " "p=none"'],
    ("mail.example.com.", "MX"): ["10 feedback-smtp.eu-west-1.amazonses.com."],
    ("mail.example.com.", "TXT"): ['"v=spf1 include:amazonses.com ~all"', '"another"'],
}


@contextmanager
def dns_server(records):
    """Answers what it is given, NXDOMAIN to everything else, until the end. Gives a resolver that asks it."""
    stopping = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.05)

        def serve():
            while not stopping.is_set():
                try:
                    packet, client = listener.recvfrom(4096)
                except TimeoutError:
                    continue
                listener.sendto(answer(packet, records), client)

        thread = threading.Thread(target=serve, name="dns-server")
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], listener.getsockname()[1]
        try:
            yield resolver
        finally:
            stopping.set()
            thread.join()


def answer(packet, records):
    query = dns.message.from_wire(packet)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    question = query.question[0]
    kind = dns.rdatatype.to_text(question.rdtype)
    found = records.get((question.name.to_text().lower(), kind))
    if found is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    else:
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
    return response.to_wire()


def look(records, details=DOMAIN):
    with dns_server(records) as resolver:
        ledger = Ledger()
        look_at_dns(ledger, [details], is_simulated=False, lookup=Lookup(resolver))
    return {finding.check: finding for finding in ledger.findings}


def test_records_that_are_right_are_shown():
    found = look(GOOD)
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert found["DMARC of example.com"].seen == "v=DMARC1; p=none"


def test_a_key_that_is_missing_is_named_with_the_record_to_put_there():
    found = look({key: value for key, value in GOOD.items() if not key[0].startswith("two.")})
    finding = found["DKIM keys of example.com in DNS"]
    assert finding.level is Level.FAILED
    assert finding.seen.startswith("two._domainkey.example.com is not there")
    assert "two._domainkey.example.com CNAME two.dkim.amazonses.com" in finding.fix


def test_a_key_that_leads_elsewhere_is_named():
    found = look(GOOD | {("one._domainkey.example.com.", "CNAME"): ["one.dkim.example.net."]})
    assert "leads to one.dkim.example.net" in found["DKIM keys of example.com in DNS"].seen


def test_a_key_of_ones_own_is_a_text():
    own = Details("example.com", verified=True, dkim_tokens=("mine",), dkim_is_own=True)
    name = ("mine._domainkey.example.com.", "TXT")
    assert look({name: ['"v=DKIM1; p=abc"']}, own)["DKIM keys of example.com in DNS"].level is Level.OK
    assert look({}, own)["DKIM keys of example.com in DNS"].level is Level.FAILED


def test_a_zone_of_its_own_is_expected_where_ses_has_one():
    there = Details("example.com", verified=True, dkim_tokens=("one",), dkim_zone="abc.dkim.eu.amazonses.com")
    assert look(GOOD, there)["DKIM keys of example.com in DNS"].level is Level.FAILED
    right = {("one._domainkey.example.com.", "CNAME"): ["one.abc.dkim.eu.amazonses.com."]}
    assert look(right, there)["DKIM keys of example.com in DNS"].level is Level.OK


@pytest.mark.parametrize(
    ("texts", "level"),
    [(None, Level.WARNING), (['"v=DMARC1; p=none"', '"v=DMARC1; p=reject"'], Level.WARNING), (['"x"'], Level.WARNING)],
)
def test_dmarc_that_no_receiver_uses_is_a_warning(texts, level):
    records = {key: value for key, value in GOOD.items() if not key[0].startswith("_dmarc")}
    found = look(records | ({("_dmarc.example.com.", "TXT"): texts} if texts else {}))
    assert found["DMARC of example.com"].level is level


def test_dmarc_of_a_parent_speaks_for_a_domain_below():
    below = Details("shop.example.com", verified=True)
    assert look(GOOD, below)["DMARC of shop.example.com"].level is Level.OK


MAIL_FROM = Details("example.com", verified=True, mail_from="mail.example.com", mail_from_status="SUCCESS")


@pytest.mark.parametrize(
    ("changed", "level", "word"),
    [
        ({}, Level.OK, "include:amazonses.com"),
        ({("mail.example.com.", "MX"): ["10 mx.example.net."]}, Level.WARNING, "no MX of SES"),
        ({("mail.example.com.", "TXT"): ['"v=spf1 -all"']}, Level.WARNING, "SES is not allowed"),
        ({("mail.example.com.", "TXT"): ['"other"']}, Level.WARNING, "no record"),
        ({("mail.example.com.", "TXT"): ['"v=spf1 a"', '"v=spf1 b"']}, Level.WARNING, "several"),
    ],
)
def test_spf_of_the_mail_from_domain(changed, level, word):
    finding = look(GOOD | changed, MAIL_FROM)["SPF of mail.example.com"]
    assert finding.level is level
    assert word in finding.seen


def test_without_a_resolver_nothing_is_judged_and_nobody_is_asked_twice():
    asked = []

    class Dead(dns.resolver.Resolver):
        def resolve(self, *question, **options):
            asked.append(question)
            raise dns.resolver.LifetimeTimeout(timeout=3, errors=[])

    ledger = Ledger()
    lookup = Lookup(Dead(configure=False))
    look_at_dns(ledger, [DOMAIN, Details("example.net", verified=True)], is_simulated=False, lookup=lookup)
    assert [finding.level for finding in ledger.findings] == [Level.SKIPPED, Level.SKIPPED]
    before = len(asked)
    look_at_dns(ledger, [DOMAIN], is_simulated=False, lookup=lookup)
    assert len(asked) == before


def test_a_machine_without_any_nameserver_is_offline():
    ledger = Ledger()
    look_at_dns(ledger, [DOMAIN], is_simulated=False, lookup=Lookup(dns.resolver.Resolver(configure=False)))
    assert ledger.findings[0].level is Level.SKIPPED


def test_addresses_and_domains_of_the_simulation_have_no_dns():
    ledger = Ledger()
    look_at_dns(ledger, [Details("a@example.com", verified=True)], is_simulated=False, lookup=lambda _question: ())
    assert ledger.findings == ()
    look_at_dns(ledger, [DOMAIN], is_simulated=True, lookup=lambda _question: ())
    assert ledger.findings[0].level is Level.SKIPPED
