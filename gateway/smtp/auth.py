"""AUTH (RFC 4954) with PLAIN (RFC 4616), and with LOGIN, which has no RFC and which much software uses."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.smtp import policy, replies
from gateway.smtp.admission import Admission, Admitted
from gateway.smtp.backoff import BackOff
from gateway.smtp.replies import CloseError, RefusedError
from gateway.smtp.session import Session

MECHANISMS = ("PLAIN", "LOGIN")

_LONGEST_NAME = 64
_ASK_USER = "VXNlcm5hbWU6"  # Username:
_ASK_PASSWORD = "UGFzc3dvcmQ6"  # noqa: S105  Password:

Ask = Callable[[str], Awaitable[str]]
"""Sends a challenge, and gives the line that the client answers."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a client says it is, and what it has to show for it."""

    name: str
    password: str = field(repr=False)


class Authenticator:
    """Hears who a client is and looks at its secret, the more slowly the more often it was wrong lately."""

    def __init__(self, admission: Admission, back_off: BackOff, failures_per_session: int) -> None:
        self._admission = admission
        self._back_off = back_off
        self._failures_per_session = failures_per_session

    async def authenticate(self, session: Session, argument: str, ask: Ask) -> Admitted:
        """The credential that the client has shown to be its own; RefusedError or CloseError otherwise."""
        if not is_offered(session):
            raise RefusedError(replies.AUTH_IN_CLEAR)
        if session.failed_auths >= self._failures_per_session:
            raise CloseError(replies.TOO_MANY_FAILED_AUTHS)
        mechanism, initial = parse_auth(argument)
        claim = await converse(mechanism, initial, ask)
        # Nobody is slowed down on this machine: who tries secrets here has other ways, and applications share it.
        keys = () if session.is_local else _keys(session, claim)
        # Before the look at the secret: nothing can be learned by leaving early.
        await _wait(self._back_off.delay(*keys))
        if not self._admission.is_known:
            raise RefusedError(replies.AUTH_UNAVAILABLE, is_error=False)
        admitted = self._admission.authenticated(claim.name, claim.password, session.client_address)
        if admitted is None:
            session.failed_auths += 1
            self._back_off.failed(*keys)
            raise RefusedError(replies.AUTH_REFUSED)
        self._back_off.succeeded(*keys)
        return admitted


_wait = asyncio.sleep


def is_offered(session: Session) -> bool:
    """Whether a secret may be sent: encrypted, or without leaving the machine."""
    return session.tls or session.is_local


def _keys(session: Session, claim: Claim) -> tuple[tuple[str, str], ...]:
    return ("client", policy.client_key(session.address)), ("name", claim.name[:_LONGEST_NAME])


def parse_auth(argument: str) -> tuple[str, str | None]:
    """The mechanism, and the initial response if there is one; RefusedError for what is not offered here."""
    words = argument.split()
    if not 1 <= len(words) <= 2:  # noqa: PLR2004  a mechanism and a response
        raise RefusedError(replies.AUTH_SYNTAX)
    mechanism = words[0].upper()
    if mechanism not in MECHANISMS:
        raise RefusedError(replies.AUTH_MECHANISM)
    return mechanism, words[1] if len(words) > 1 else None


async def converse(mechanism: str, initial: str | None, ask: Ask) -> Claim:
    """Go through the mechanism with the client. RefusedError when it calls off, or says what cannot be decoded."""
    # RFC 4954 section 4: an empty initial response is written as a single equals sign.
    first = None if initial is None else _decoded("" if initial == "=" else initial)
    return await (_plain if mechanism == "PLAIN" else _login)(first, ask)


async def _plain(first: str | None, ask: Ask) -> Claim:
    response = _decoded(await ask("")) if first is None else first
    parts = response.split("\0")
    if len(parts) != 3:  # noqa: PLR2004  whom to act for, who, and the password: RFC 4616 section 2
        raise RefusedError(replies.AUTH_UNREADABLE)
    act_for, name, password = parts
    if act_for not in ("", name):
        raise RefusedError(replies.AUTH_FOR_ANOTHER)
    return Claim(name, password)


async def _login(first: str | None, ask: Ask) -> Claim:
    name = _decoded(await ask(_ASK_USER)) if first is None else first
    return Claim(name, _decoded(await ask(_ASK_PASSWORD)))


def _decoded(response: str) -> str:
    if response == "*":
        raise RefusedError(replies.AUTH_CANCELLED)
    try:
        octets = b64decode(response, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(replies.AUTH_UNREADABLE) from None
    # Octets of another character set are simply no secret of ours.
    return octets.decode("utf-8", "replace")
