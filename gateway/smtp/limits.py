"""What one client, and all of them together, may take of the front."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds. Where a number is also Postfix's, an application that worked with Postfix works here."""

    connections: int = 500
    connections_per_client: int = 250  # applications of one host share an address
    strangers: int = 20  # connections from outside the trusted networks, which have places of their own
    strangers_per_client: int = 5
    command_octets: int = 2048
    errors: int = 10  # replies to what no honest client says; then 421
    junk_commands: int = 100  # NOOP, RSET and the like between two accepted messages; each further one is an error
    recipients: int = 1000  # RFC 5321 section 4.5.3.1.8 wants at least 100
    recipient_overshoot: int = 1000  # RCPT commands that are answered 452 before the connection is closed
    idle: float = 300.0  # RFC 5321 section 4.5.3.2.7
    stranger_idle: float = 30.0
    farewell: float = 1.0  # after its last reply, when the front is to end
    session_without_message: float = 900.0
    data_octets_per_second: int = 500  # on average, after the first `idle` seconds
    large_octets_per_second: int = 8 * 1024
    large_octets: int = 512 * 1024  # content above this waits for one of the places below
    large_contents: int = 3  # contents of the largest size in memory at once
    large_contents_per_client: int = 2  # one slow client never keeps out the large mail of all others
    large_wait: float = 120.0
    linger: float = 2.0  # how long the rest of what a refused client sends is read, so that it sees the reply
