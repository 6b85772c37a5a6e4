"""The identities of the account: verified, signing with DKIM, with a MAIL FROM domain that works."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, Situation, not_seen
from gateway.findings import Finding, Ledger, failed, ok, warning
from gateway.preflight import Identities

IDENTITIES: Final = "identities"
_MOST: Final = 8
"""Each costs a second, for SES wants to be asked no faster."""
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Listed:
    """An identity as the list of all tells of it."""

    name: str
    may_send: bool
    status: str = ""

    @property
    def is_domain(self) -> bool:
        return "@" not in self.name


@dataclass(frozen=True, slots=True)
class Details:
    """What GetEmailIdentity tells of one; `dkim_tokens` are selectors, `dkim_zone` where their names lead to."""

    name: str
    verified: bool
    dkim_status: str = "NOT_STARTED"
    dkim_signs: bool = False
    dkim_tokens: tuple[str, ...] = ()
    dkim_zone: str = ""
    dkim_is_own: bool = False
    mail_from: str = ""
    mail_from_status: str = ""
    mail_from_rejects: bool = False

    @property
    def is_domain(self) -> bool:
        return "@" not in self.name


def look_at_identities(ledger: Ledger, desk: Desk) -> tuple[Details, ...]:
    """The details of those that matter most, verified ones of all."""
    try:
        listed = tuple(map(_listed, desk.aws.every("sesv2", "ListEmailIdentities", "EmailIdentities")))
    except AwsCallError as error:
        ledger.add(not_seen(IDENTITIES, error))
        return ()
    ledger.add(*judge_identities(listed, desk.situation))
    return tuple(_details(ledger, desk, [one for one in most_relevant(listed, desk.situation) if one.may_send]))


def _details(ledger: Ledger, desk: Desk, listed: Iterable[Listed]) -> Iterator[Details]:
    for one in listed:
        try:
            details = details_of(one.name, desk.aws.call("sesv2", "GetEmailIdentity", EmailIdentity=one.name))
        except AwsCallError as error:
            ledger.add(not_seen(_dkim(one.name), error))
            return
        ledger.add(*judge_details(details))
        yield details


def _listed(given: Mapping[str, Any]) -> Listed:
    return Listed(
        str(given["IdentityName"]), bool(given.get("SendingEnabled")), str(given.get("VerificationStatus") or "PENDING")
    )


def details_of(name: str, given: Mapping[str, Any]) -> Details:
    dkim, mail_from = given.get("DkimAttributes") or {}, given.get("MailFromAttributes") or {}
    return Details(
        name=name,
        verified=bool(given.get("VerifiedForSendingStatus")),
        dkim_status=str(dkim.get("Status") or "NOT_STARTED"),
        dkim_signs=bool(dkim.get("SigningEnabled")),
        dkim_tokens=tuple(map(str, dkim.get("Tokens") or ())),
        dkim_zone=str(dkim.get("SigningHostedZone") or ""),
        dkim_is_own=dkim.get("SigningAttributesOrigin") == "EXTERNAL",
        mail_from=str(mail_from.get("MailFromDomain") or ""),
        mail_from_status=str(mail_from.get("MailFromDomainStatus") or ""),
        mail_from_rejects=mail_from.get("BehaviorOnMxFailure") == "REJECT_MESSAGE",
    )


def most_relevant(listed: Sequence[Listed], situation: Situation) -> list[Listed]:
    """Those that a sender of ours is covered by come first, then domains."""
    wanted = {name for sender in situation.senders for name in _coverers(sender)}
    ordered = sorted(listed, key=lambda one: (one.name.lower() not in wanted, not one.is_domain, one.name))
    return ordered[:_MOST]


def _coverers(sender: str) -> Iterator[str]:
    """The names of the identities that would speak for an address, or for the addresses of a domain."""
    _, _, domain = sender.lower().rpartition("@")
    labels = domain.removeprefix(".").split(".")
    yield sender.lower()
    yield from (".".join(labels[start:]) for start in range(len(labels)))


def judge_identities(listed: Sequence[Listed], situation: Situation) -> list[Finding]:
    """One finding, and one more for each sender that is named in the settings or a credential and not verified."""
    if not listed and situation.is_simulated:
        return [ok(IDENTITIES, "none: the simulated AWS takes every sender until one is made")]
    verified = [one for one in listed if one.may_send]
    if not verified:
        return [_none(listed)]
    others = [one for one in listed if not one.may_send]
    seen = f"{_names(verified)} may send"
    known = Identities(frozenset(one.name.lower() for one in verified), "")
    uncovered = [sender for sender in situation.senders if not _is_covered(known, sender)]
    concerned = {name for sender in uncovered for name in _coverers(sender)}
    pending = [one for one in others if one.name.lower() not in concerned]
    overall = ok(IDENTITIES, seen)
    if pending:
        overall = warning(IDENTITIES, f"{seen}; not verified: {_names(pending)}", _how_to_verify(pending[0]))
    return [overall, *(_unverified(sender, others, situation) for sender in uncovered)]


def _is_covered(known: Identities, sender: str) -> bool:
    return known.cover(sender if "@" in sender else f"postmaster@{sender.removeprefix('.')}")


def _none(listed: Sequence[Listed]) -> Finding:
    if not listed:
        return failed(
            IDENTITIES,
            "SES knows no sender in this account and region",
            "Verify a domain: aws sesv2 create-email-identity --email-identity example.com; its records go into DNS.",
        )
    return failed(IDENTITIES, f"none is verified for sending: {_names(listed)}", _how_to_verify(listed[0]))


def _unverified(sender: str, others: Sequence[Listed], situation: Situation) -> Finding:
    """A sender that mail is rewritten to must be verified; one that a credential may use is perhaps never used."""
    check = f"identity of {sender}"
    names = set(_coverers(sender))
    started = next((one for one in others if one.name.lower() in names), None)
    if started is None:
        seen = "SES has no identity for this sender"
        fix = f"Verify it: aws sesv2 create-email-identity --email-identity {sender.removeprefix('.')}"
    else:
        seen, fix = f"{started.name} is not verified ({started.status})", _how_to_verify(started)
    is_certain = started is not None or sender == situation.rewrite_from
    return failed(check, seen, fix) if is_certain else warning(check, seen, fix)


def _how_to_verify(identity: Listed) -> str:
    if identity.is_domain:
        return (
            f"Put the three CNAMEs of {identity.name} in its DNS and wait: aws sesv2 get-email-identity"
            f" --email-identity {identity.name} shows the tokens. One that nobody needs can be deleted."
        )
    return f"Follow the link in the mail that AWS sent to {identity.name}; the SES console sends it again."


def judge_details(details: Details) -> list[Finding]:
    return [judge_dkim(details), *([judge_mail_from(details)] if details.mail_from else [])]


def judge_dkim(details: Details) -> Finding:
    check, status = _dkim(details.name), details.dkim_status
    if status == "SUCCESS" and details.dkim_signs:
        return ok(check, "SES signs, and has found the key in DNS")
    if not details.is_domain:
        return ok(check, "none of its own; its domain may sign")
    if status == "FAILED":
        return failed(
            check,
            "SES did not find the key in DNS and does not sign (FAILED)",
            f"Put the CNAMEs of {details.name} back in DNS, then switch it on again: aws sesv2"
            f" put-email-identity-dkim-attributes --email-identity {details.name} --signing-enabled",
        )
    if status == "SUCCESS":
        return warning(
            check,
            "the key is there, but signing is switched off",
            f"aws sesv2 put-email-identity-dkim-attributes --email-identity {details.name} --signing-enabled",
        )
    return warning(
        check,
        {"NOT_STARTED": "not set up", "PENDING": "SES still looks for the key in DNS (PENDING)"}.get(
            status, f"SES could not look at the moment ({status})"
        ),
        f"Gmail, Yahoo and Outlook want DKIM. Put the CNAMEs of {details.name} in DNS; SES console, Identities.",
    )


def judge_mail_from(details: Details) -> Finding:
    check, status = f"MAIL FROM of {details.name}", details.mail_from_status
    if status == "SUCCESS":
        return ok(check, details.mail_from)
    seen = f"SES did not find the MX of {details.mail_from} ({status})"
    fix = f"Put the MX and the SPF record of {details.mail_from} in DNS, or take the MAIL FROM domain away in SES."
    if details.mail_from_rejects and status in {"FAILED", "PENDING"}:
        return failed(check, f"{seen} and refuses mail meanwhile (REJECT_MESSAGE)", fix)
    if status == "FAILED":
        return failed(check, f"{seen}; amazonses.com stands in its place, and SPF no longer aligns", fix)
    return warning(check, seen, fix)


def _dkim(name: str) -> str:
    return f"DKIM of {name}"


def _names(listed: Sequence[Listed]) -> str:
    shown = ", ".join(one.name if one.may_send else f"{one.name} ({one.status})" for one in listed[:_SHOWN])
    return f"{shown} and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else shown
