"""What the receivers of mail see in DNS: DKIM keys, DMARC, and SPF of the MAIL FROM domain.

https://docs.aws.amazon.com/ses/latest/dg/send-email-authentication-dkim-easy-managing.html,
https://docs.aws.amazon.com/ses/latest/dg/mail-from.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import dns.exception
import dns.rdatatype
import dns.resolver

from gateway.aws.checks.identities import Details
from gateway.findings import Finding, Ledger, failed, ok, skipped, warning

_LIFETIME: Final = 3.0
_THREADS: Final = 8
_AMAZON: Final = "amazonses.com"
_MOST_PARENTS: Final = 3

Question = tuple[str, str]
"""A name and a type of record."""


class DnsUnavailableError(Exception):
    """No resolver answered in time: this machine is offline, or its DNS is."""


class Lookup:
    """Asks the resolver of this machine. After one silence it asks nobody again, for each costs seconds."""

    def __init__(self, resolver: dns.resolver.Resolver | None = None) -> None:
        self._resolver = resolver
        self._is_silent = False

    def __call__(self, question: Question) -> tuple[str, ...]:
        """Texts of the records, without the last dot; DnsUnavailableError when nobody says whether there are some."""
        if self._is_silent:
            raise DnsUnavailableError
        try:
            answer = self._working().resolve(*question, lifetime=_LIFETIME, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except dns.exception.DNSException as error:
            self._is_silent = True
            raise DnsUnavailableError from error
        return tuple(map(_text, answer))

    def _working(self) -> dns.resolver.Resolver:
        self._resolver = self._resolver or dns.resolver.Resolver()
        return self._resolver


def _text(record: Any) -> str:
    """A TXT record may come in several strings, which belong together without anything between."""
    if record.rdtype == dns.rdatatype.TXT:
        return b"".join(record.strings).decode(errors="replace")
    if record.rdtype == dns.rdatatype.MX:
        return str(record.exchange).rstrip(".")
    return str(record).rstrip(".")


@dataclass(frozen=True, slots=True)
class Records:
    """What DNS says about one identity. `dkim` has what was found for each selector's name."""

    details: Details
    dkim: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dmarc: tuple[str, ...] = ()
    mail_from_spf: tuple[str, ...] = ()
    mail_from_mx: tuple[str, ...] = ()


def look_at_dns(
    ledger: Ledger, identities: Iterable[Details], *, is_simulated: bool, lookup: Callable[[Question], tuple[str, ...]]
) -> None:
    for details in (one for one in identities if one.is_domain):
        check = f"DNS of {details.name}"
        if is_simulated:
            ledger.add(skipped(check, "domains of the simulated AWS have no DNS"))
            continue
        try:
            records = read_records(details, lookup)
        except DnsUnavailableError:
            ledger.add(skipped(check, "no DNS resolver answered here; on a machine with DNS run doctor again"))
            continue
        ledger.add(*judge_records(records))


def read_records(details: Details, lookup: Callable[[Question], tuple[str, ...]]) -> Records:
    """All at once, for each may take seconds. DnsUnavailableError when one is not answered."""
    kind = "TXT" if details.dkim_is_own else "CNAME"
    dkim = [(f"{token}._domainkey.{details.name}", kind) for token in details.dkim_tokens]
    dmarc = [(name, "TXT") for name in _dmarc_names(details.name)]
    mail_from = [(details.mail_from, "TXT"), (details.mail_from, "MX")] if details.mail_from else []
    questions = [*dkim, *dmarc, *mail_from]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="dns") as pool:
        found = dict(zip(questions, pool.map(lookup, questions), strict=True))
    return Records(
        details=details,
        dkim={name: found[name, kind] for name, _ in dkim},
        dmarc=next((policy for name, _ in dmarc if (policy := _policies(found[name, "TXT"]))), ()),
        mail_from_spf=tuple(text for text in found.get((details.mail_from, "TXT"), ()) if _is_spf(text)),
        mail_from_mx=found.get((details.mail_from, "MX"), ()),
    )


def _dmarc_names(domain: str) -> list[str]:
    """The domain's own and those of its parents, which speak for it, but of no top-level domain (RFC 7489, 6.6.3)."""
    labels = domain.split(".")
    starts = range(min(_MOST_PARENTS, max(1, len(labels) - 1)))
    return [f"_dmarc.{'.'.join(labels[start:])}" for start in starts]


def _policies(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if text.replace(" ", "").lower().startswith("v=dmarc1"))


def _is_spf(text: str) -> bool:
    return text.lower().split(" ", 1)[0] == "v=spf1"


def judge_records(records: Records) -> Iterator[Finding]:
    if records.dkim:
        yield _judge_dkim(records)
    yield _judge_dmarc(records)
    if records.details.mail_from:
        yield _judge_mail_from(records)


def _judge_dkim(records: Records) -> Finding:
    check, details = f"DKIM keys of {records.details.name} in DNS", records.details
    wrong = [name for name, found in records.dkim.items() if not _leads_to_key(name, found, details)]
    if not wrong:
        return ok(check, f"all {len(records.dkim)} are there")
    name = wrong[0]
    seen = f"{name} {'leads to ' + records.dkim[name][0] if records.dkim[name] else 'is not there'}"
    more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
    selector = name.partition("._domainkey.")[0]
    target = f"{selector}.{details.dkim_zone or 'dkim.' + _AMAZON}"
    fix = (
        f"Put your public key back as TXT record of {name}."
        if details.dkim_is_own
        else f"In the DNS of {details.name}: {name} CNAME {target}"
    )
    return failed(check, f"{seen}{more}: receivers cannot check the signature", fix)


def _leads_to_key(name: str, found: tuple[str, ...], details: Details) -> bool:
    if details.dkim_is_own:
        return any("p=" in text for text in found)
    selector = name.partition("._domainkey.")[0].lower()
    zone = f".{details.dkim_zone or _AMAZON}".lower()
    return any(target.lower().startswith(f"{selector}.") and target.lower().endswith(zone) for target in found)


def _judge_dmarc(records: Records) -> Finding:
    check, domain = f"DMARC of {records.details.name}", records.details.name
    if len(records.dmarc) > 1:
        return warning(
            check, "there are several records, so receivers use none", f"Leave one TXT record at _dmarc.{domain}."
        )
    if not records.dmarc:
        return warning(
            check,
            "there is no record; Gmail and Yahoo want one of everybody who sends much",
            f'In the DNS of {domain}: _dmarc.{domain} TXT "v=DMARC1; p=none"',
        )
    return ok(check, records.dmarc[0])


def _judge_mail_from(records: Records) -> Finding:
    domain = records.details.mail_from
    check = f"SPF of {domain}"
    if not any(host.lower().endswith(f".{_AMAZON}") for host in records.mail_from_mx):
        return warning(
            check,
            "there is no MX of SES, so SES stops using this MAIL FROM domain",
            f"In the DNS of {domain}: MX 10 feedback-smtp.REGION.{_AMAZON}",
        )
    if len(records.mail_from_spf) != 1:
        count = "several records, so receivers use none" if records.mail_from_spf else "no record"
        return warning(check, f"there is {count}", f'In the DNS of {domain}: TXT "v=spf1 include:{_AMAZON} ~all"')
    if f"include:{_AMAZON}" not in records.mail_from_spf[0].lower():
        return warning(
            check,
            f"SES is not allowed: {records.mail_from_spf[0]}",
            f"Add include:{_AMAZON} to the SPF record of {domain}.",
        )
    return ok(check, records.mail_from_spf[0])
