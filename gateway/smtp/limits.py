"""What one client, and all of them together, may take of the front."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds. Where a number is also Postfix's, an application that worked with Postfix works here."""

    connections: int = 500
    connections_per_client: int = 250  # applications of one host share an address
    strangers: int = 100  # connections without a credential, or not yet with one: they have places of their own
    strangers_per_client: int = 20
    command_octets: int = 2048
    auth_octets: int = 12288  # RFC 4954 section 4
    failed_auths: int = 5  # in one session; later ones are not looked at
    errors: int = 10  # replies to what no honest client says; then 421
    junk_commands: int = 100  # NOOP, RSET and the like between two accepted messages; each further one is an error
    recipients: int = 1000  # RFC 5321 section 4.5.3.1.8 wants at least 100
    recipient_overshoot: int = 1000  # RCPT commands that are answered 452 before the connection is closed
    messages: int = 1000  # in one session
    idle: float = 300.0  # RFC 5321 section 4.5.3.2.7
    stranger_idle: float = 30.0
    farewell: float = 1.0  # after its last reply, when the front is to end
    session_without_message: float = 900.0
    session: float = 7200.0  # of any kind; ended between two transactions
    data_octets_per_second: int = 500  # on average, after the first `idle` seconds
    large_octets_per_second: int = 8 * 1024
    octets_in_flight: int = 128 * 1024 * 1024  # received and not yet answered, over all sessions
    large_octets: int = 512 * 1024  # content above this waits for one of the places below
    large_contents: int = 3  # contents of the largest size in memory at once
    large_contents_per_client: int = 2  # one slow client never keeps out the large mail of all others
    large_wait: float = 120.0
    linger: float = 2.0  # how long the rest of what a refused client sends is read, so that it sees the reply


_RESERVED = 224  # descriptors for the database, the log, and connections that are accepted only to be refused


def within_descriptors(limits: Limits, descriptors: int) -> Limits:
    """The limits with no more connections than there can be open files; a listener that runs out of them is deaf."""
    wanted = limits.connections + limits.strangers
    room = max(descriptors - _RESERVED, descriptors // 2, 2)
    if wanted <= room:
        return limits
    strangers = max(limits.strangers * room // wanted, 1)
    return replace(limits, connections=room - strangers, strangers=strangers)
