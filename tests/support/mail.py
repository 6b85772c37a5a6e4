"""Accepted mail for tests: envelopes, and recipients that stand in a database."""

from __future__ import annotations

from typing import Any

from gateway.addresses import parse_mailbox
from gateway.content import ContentFacts
from gateway.envelope import LOCAL_CREDENTIAL, Envelope, Origin
from gateway.store.control import Lease
from gateway.store.sending import Claim
from gateway.store.stores import Stores
from gateway.store.times import now_micros

CONTENT = b"From: shop@example.org\r\nTo: a@example.com\r\nSubject: Your order\r\n\r\nThank you.\r\n"
FACTS = ContentFacts("Your order", "shop@example.org", "<1@example.org>", len(CONTENT))


def envelope(*addresses: str, content: bytes = CONTENT, credential: str = LOCAL_CREDENTIAL) -> Envelope:
    return Envelope(
        reverse_path=parse_mailbox("shop@example.org"),
        forward_paths=tuple(parse_mailbox(address) for address in addresses or ("a@example.com",)),
        content=content,
        origin=Origin(credential, "192.0.2.1", "erp.example.org", "ESMTP"),
    )


def accept(stores: Stores, *addresses: str, **fields: Any) -> list[int]:
    """Store one message; the ids of its recipients."""
    ulid = stores.messages.submit(envelope(*addresses, **fields), FACTS).result(timeout=30)
    return [
        row[0]
        for row in rows(
            stores,
            "SELECT r.id FROM recipients r JOIN messages m ON m.id = r.message_id WHERE m.ulid = ? ORDER BY r.id",
            ulid,
        )
    ]


def lease_of(stores: Stores, holder: str = "test") -> Lease:
    taken = stores.control.take_lease(holder, stores.control.read_lease())
    assert taken is not None
    return taken


def mark(stores: Stores, *ids: int, seconds: float = 60) -> None:
    """Mark recipients as a dispatcher does, for as long as a test needs."""
    until = now_micros() + int(seconds * 1_000_000)
    for id_ in ids:
        change(stores, "UPDATE recipients SET dispatched_until = ? WHERE id = ?", until, id_)


def claimed(stores: Stores, id_: int) -> Claim:
    mark(stores, id_)
    claim = stores.sending.claim(id_)
    assert claim is not None
    return claim


def begun(stores: Stores, id_: int) -> Claim:
    claim = claimed(stores, id_)
    assert stores.sending.begin_attempt(claim) is True
    return claim


def change(stores: Stores, statement: str, *values: object) -> int:
    """Move the clock of a row, instead of waiting."""
    return stores.db.write(lambda sql: sql.run(statement, values))


def rows(stores: Stores, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with stores.db.read() as sql:
        return sql.all(statement, values)


def status(stores: Stores, id_: int) -> str:
    return str(rows(stores, "SELECT status FROM recipients WHERE id = ?", id_)[0][0])


def column(stores: Stores, id_: int, name: str) -> Any:
    return rows(stores, f"SELECT {name} FROM recipients WHERE id = ?", id_)[0][0]
