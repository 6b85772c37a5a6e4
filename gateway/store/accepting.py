"""Writing accepted transactions down: all that wait for the same commit with one statement for each table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.content import ContentFacts
from gateway.credentials import Caps
from gateway.envelope import Envelope
from gateway.lifecycle import Happening, Status, after
from gateway.store.errors import NotEnabledError, OverCapError
from gateway.store.sql import Row, Sql
from gateway.store.usage import count


@dataclass(frozen=True, slots=True)
class Submission:
    """A transaction that is to be stored, with what was made up for it outside of the database's transaction."""

    ulid: str
    envelope: Envelope
    facts: ContentFacts
    caps: Caps | None
    accepted_at: int
    expires_at: int


class Accepting:
    """What `Messages.submit` has the writer do. `captured`: why the staging guard keeps mail to an address, or None."""

    def __init__(self, captured: Callable[[str], str | None]) -> None:
        self._captured = captured

    def store(self, sql: Sql, submissions: Sequence[Submission]) -> list[str | Exception]:
        """The ULID of each, or why nothing of it was kept."""
        credentials: dict[str, Row | None] = {}
        outcomes: list[str | Exception] = []
        admitted: list[tuple[Submission, int]] = []
        for one in submissions:
            try:
                admitted.append((one, _admit(sql, one, credentials)))
            except (NotEnabledError, OverCapError) as error:
                outcomes.append(error)
            else:
                outcomes.append(one.ulid)
        if admitted:
            sql.insert(_INSERT_MESSAGE, [_message(one, credential_id) for one, credential_id in admitted])
            _insert_contents(sql, [(one.ulid, one.envelope.content) for one, _ in admitted])
            sql.insert(_INSERT_RECIPIENT, [row for each in admitted for row in self._recipients(sql, *each)])
        return outcomes

    def _recipients(self, sql: Sql, one: Submission, credential_id: int) -> Iterator[tuple[object, ...]]:
        for mailbox in one.envelope.forward_paths:
            address = str(mailbox)
            reason = self._captured(address)
            if reason:
                sql.tally("outcomes", _CAPTURED.value)
            yield (
                one.ulid,
                credential_id,
                address,
                mailbox.key,
                (_CAPTURED if reason else Status.QUEUED).value,
                reason or "",
                one.accepted_at,
                one.expires_at,
                one.accepted_at,
                one.accepted_at if reason else None,
            )


_CAPTURED = after(Status.QUEUED, Happening.CAPTURE)
_INSERT_MESSAGE = (
    "INSERT INTO messages (ulid, credential_id, reverse_path, client_address, helo, protocol, subject, header_from,"
    " header_message_id, size, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# The message is found again by its ULID: to be told the ids of many rows, each would have to be asked for alone.
_ID = "(SELECT id FROM messages WHERE ulid = ?)"
_INSERT_CONTENT = f"INSERT INTO contents (message_id, data) VALUES ({_ID}, ?)"
_MAKE_ROOM = f"INSERT INTO contents (message_id, data) VALUES ({_ID}, zeroblob(?)) RETURNING message_id"
# Up to here the copies that a statement makes are cheaper than the calls that avoid them.
_BOUND = 512 * 1024
_INSERT_RECIPIENT = (
    "INSERT INTO recipients (message_id, credential_id, address, address_key, status, reason, attempts,"
    f" next_attempt_at, expires_at, changed_at, ended_at) VALUES ({_ID}, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)"
)


def _admit(sql: Sql, one: Submission, credentials: dict[str, Row | None]) -> int:
    """The id of its credential, against whose caps it is counted. Of whoever is refused nothing is noted."""
    name = one.envelope.origin.credential
    if name not in credentials:
        credentials[name] = sql.one("SELECT id, disabled_at FROM credentials WHERE name = ?", (name,))
    row = credentials[name]
    if row is None or row[1] is not None:
        raise NotEnabledError(f"The credential {name!r} is {'disabled' if row else 'not there any more'}.")
    if one.caps is not None:
        count(sql, row[0], name, one.caps, len(one.envelope.forward_paths))
    return int(row[0])


def _insert_contents(sql: Sql, contents: Sequence[tuple[str, bytes]]) -> None:
    sql.insert(_INSERT_CONTENT, [each for each in contents if len(each[1]) <= _BOUND])
    for ulid, content in contents:
        if len(content) > _BOUND:
            _insert_large(sql, ulid, content)


def _insert_large(sql: Sql, ulid: str, content: bytes) -> None:
    """Piece by piece, so that no copy is made in memory.

    PostgreSQL has no pieces, but a statement for each: its library moves what it could not send yet at each sending, so
    that four in one take as long as sixteen, and its time limit is for one statement.
    """
    if sql.fills:
        sql.fill("contents", "data", sql.value(_MAKE_ROOM, (ulid, len(content))), content)
    else:
        sql.run(_INSERT_CONTENT, (ulid, content))


def _message(one: Submission, credential_id: int) -> tuple[object, ...]:
    envelope, facts = one.envelope, one.facts
    return (
        one.ulid,
        credential_id,
        None if envelope.reverse_path is None else str(envelope.reverse_path),
        envelope.origin.client_address,
        envelope.origin.helo,
        envelope.origin.protocol,
        facts.subject,
        facts.header_from,
        facts.header_message_id,
        len(envelope.content),
        one.accepted_at,
    )
