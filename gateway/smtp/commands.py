"""The syntax of the commands with an argument (RFC 5321 section 4.1.1). Pure."""

from __future__ import annotations

import re
import stringprep

from gateway.addresses import a_labels, is_short_enough
from gateway.smtp import replies
from gateway.smtp.replies import RefusedError

_PATH = r""":[ ]*<([^<>"]*+(?:"(?:[^"\\]|\\.)*+"[^<>"]*+)*+)>(?:[ ]+(.*))?"""
_FROM = re.compile("FROM" + _PATH, re.IGNORECASE)
_TO = re.compile("TO" + _PATH, re.IGNORECASE)
# What programs say that are older than RFC 5321: a bracket missing, or both, or blanks in them and before the colon.
_LOOSE = re.compile(r"""(FROM|TO)[ ]*:[ ]*(?:<[ ]*([^<>" ]*)|([^<>" ]+))[ ]*>?((?:[ ]+.*)?)""", re.IGNORECASE)
_DOMAIN_BEYOND_ASCII = re.compile(r"@([^\s<>@]*[^\x00-\x7f][^\s<>@]*)")
_HOST = re.compile(r"[A-Za-z0-9.-]+")
# IDNA 2003, which Python has, makes another name of these than IDNA 2008 and the registries do.
_AMBIGUOUS_IN_IDNA = frozenset("\u00df\u03c2\u200c\u200d")

# Sent by vCenter, sendmail, Exchange and others whether they are offered or not (RFC 4954, RFC 3461). What they ask
# for has no counterpart at SES, and refusing them would refuse the mail.
_MAIL_PARAMETERS = frozenset(("SIZE", "BODY", "AUTH", "RET", "ENVID"))
_RCPT_PARAMETERS = frozenset(("NOTIFY", "ORCPT"))

# What browsers and other programs say that were led to a mail port, and commands whose payload would be read as
# commands since we do not offer them.
_FOREIGN_VERBS = frozenset(
    ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI", "BDAT")
)


def is_foreign(verb: str) -> bool:
    """Whether this begins another protocol: going on would run its payload as commands."""
    return verb in _FOREIGN_VERBS or ":" in verb


def parse_mail(argument: str) -> tuple[str, int | None]:
    """The reverse-path without its brackets (empty for the null reverse-path), and the declared SIZE."""
    match = _FROM.fullmatch(argument)
    if match is None:
        raise RefusedError(replies.MAIL_SYNTAX)
    if not match[2]:
        return match[1], None
    parameters = _parameters(match[2], _MAIL_PARAMETERS)
    if parameters.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME"):
        raise RefusedError(replies.BODY_SYNTAX)
    return match[1], _size(parameters.get("SIZE"))


def parse_rcpt(argument: str) -> str:
    """The forward-path without its brackets."""
    match = _TO.fullmatch(argument)
    if match is None:
        raise RefusedError(replies.RCPT_SYNTAX)
    if match[2]:
        _parameters(match[2], _RCPT_PARAMETERS)
    return match[1]


def tightened(argument: str) -> str:
    """The argument of an antique client as RFC 5321 spells it; what is not understood stays as it is."""
    match = _LOOSE.fullmatch(argument)
    return argument if match is None else f"{match[1]}:<{match[2] or match[3] or ''}>{match[4]}"


def in_ascii(line: bytes) -> str:
    """A command with an address, its domain in A-labels (RFC 5890). RefusedError where the local part is beyond ASCII:
    SES does not send to it; and where the domain is no name, or one that is spelled in two ways.
    """
    try:
        text = _DOMAIN_BEYOND_ASCII.sub(lambda match: "@" + _a_label(match[1]), line.decode("utf-8"))
    except UnicodeDecodeError:
        raise RefusedError(replies.NON_ASCII_ADDRESS, is_error=False) from None
    if not text.isascii():
        raise RefusedError(replies.NON_ASCII_ADDRESS, is_error=False)
    return text


def _a_label(domain: str) -> str:
    """What is compatible with ASCII becomes ASCII in it, a full-width bracket too: only letters may come of it.

    A domain that is too long counts as an error: nobody's address book has one, and asking again is to cost no more.
    """
    if not is_short_enough(domain):
        raise RefusedError(replies.NON_ASCII_DOMAIN)
    try:
        label = a_labels(domain)
    except UnicodeError:
        label = ""
    has_invisible = any(map(stringprep.in_table_b1, domain))  # IDNA 2003 drops them, and means another domain
    if has_invisible or not _HOST.fullmatch(label) or not _AMBIGUOUS_IN_IDNA.isdisjoint(domain):
        raise RefusedError(replies.NON_ASCII_DOMAIN, is_error=False)
    return label


def _parameters(text: str, known: frozenset[str]) -> dict[str, str]:
    parameters = {}
    for parameter in text.split():
        name, _, value = parameter.partition("=")
        parameters[name.upper()] = value
    if not known.issuperset(parameters):
        raise RefusedError(replies.UNKNOWN_PARAMETER)
    return parameters


def _size(value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 20:  # noqa: PLR2004  RFC 1870 section 3
        raise RefusedError(replies.SIZE_SYNTAX)
    return int(value)
