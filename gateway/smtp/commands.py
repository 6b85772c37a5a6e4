"""The syntax of the commands with an argument (RFC 5321 section 4.1.1). Pure."""

from __future__ import annotations

import re

from gateway.smtp import replies
from gateway.smtp.replies import RefusedError

_PATH = r""":[ ]*<([^<>"]*+(?:"(?:[^"\\]|\\.)*+"[^<>"]*+)*+)>(?:[ ]+(.*))?"""
_FROM = re.compile("FROM" + _PATH, re.IGNORECASE)
_TO = re.compile("TO" + _PATH, re.IGNORECASE)

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
