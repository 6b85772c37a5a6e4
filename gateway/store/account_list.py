"""Our side of the comparison with SES's account-level list, and what is taken over from there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from gateway.store import audit
from gateway.store.db import Database
from gateway.store.sql import Row, Sql
from gateway.store.suppression_rows import last_lifted, suppress
from gateway.store.times import from_micros, now_micros, to_micros
from gateway.suppression_drift import AtSes, Local
from gateway.suppression_policy import Policy, Reason

SOURCE = "SES account list"
ADOPTED_AT_ONCE = 100  # the SMTP front waits for the same gate, so a transaction ends after a few milliseconds

_PAGE = 5_000
_IN_FORCE = "(expires_at IS NULL OR expires_at > ?)"
_ENTRIES = (
    "SELECT address_key, address, reason, scope, since, expires_at FROM suppressions"
    f" WHERE address_key > ? AND {_IN_FORCE} ORDER BY address_key LIMIT ?"
)
_REASON = f"SELECT reason FROM suppressions WHERE address_key = ? AND {_IN_FORCE}"


class AccountListing:
    """What `suppressions sync` reads and writes here."""

    def __init__(self, db: Database, policy: Policy) -> None:
        self._db = db
        self._policy = policy

    def entries(self) -> Iterator[Local]:
        """Everything in force, of every scope, page by page: it may be far longer than memory."""
        after = ""
        while page := self._page(after):
            yield from map(self._local, page)
            after = page[-1][0]

    def _local(self, row: Row) -> Local:
        """What has an end of its own, such as `add --expires 7d`, must not become one for ever by way of SES."""
        key, address, reason, scope, since, expires_at = row
        lasts = self._policy.expires(Reason(reason), from_micros(since))
        is_early = expires_at is not None and (lasts is None or from_micros(expires_at) < lasts)
        return Local(key, address, Reason(reason), scope, is_temporary=is_early)

    def _page(self, after: str) -> list[Row]:
        with self._db.read() as sql:
            return sql.all(_ENTRIES, (after, now_micros(), _PAGE))

    def reason(self, key: str) -> Reason | None:
        """Why mail to this address is refused to every credential, by an entry of its own; None when there is none."""
        with self._db.read() as sql:
            found = sql.value(_REASON, (key, now_micros()))
        return None if found is None else Reason(found)

    def lifted(self, keys: Sequence[str]) -> dict[str, datetime]:
        """When a person lifted each of these last; a key that nobody lifted is missing."""
        with self._db.read() as sql:
            when = {key: last_lifted(sql, key) for key in keys}
        return {key: from_micros(at) for key, at in when.items() if at is not None}

    def outlived(self, reason: Reason, since: datetime) -> bool:
        """Whether an entry that began then would have ended by now."""
        ends = self._policy.expires(reason, since)
        return ends is not None and ends <= datetime.now(UTC)

    def adopt(self, found: Sequence[AtSes], *, actor: str) -> int:
        """Suppress what SES has, since SES has it; the number of entries that changed. One transaction.

        What a person lifted after that stays lifted, also when that happened a moment ago.
        """
        return self._db.write(lambda sql: sum(self._adopt(sql, one, actor) for one in found))

    def _adopt(self, sql: Sql, found: AtSes, actor: str) -> bool:
        sql.in_turn(found.key)  # whoever lifts it at this moment is waited for
        lifted = last_lifted(sql, found.key)
        if found.is_lifted(None if lifted is None else from_micros(lifted)):
            return False
        expires_at = self._policy.expires(found.reason, found.updated_at)
        return suppress(
            sql,
            found.address,
            found.key,
            found.reason,
            source=SOURCE,
            detail="",
            at=to_micros(found.updated_at),
            actor=actor,
            expires_at=None if expires_at is None else to_micros(expires_at),
        )


def record(db: Database, action: str, subject: str, detail: str, *, actor: str) -> None:
    """Write what was changed, here or at SES, into the audit trail."""
    db.write(lambda sql: audit.record(sql, actor, action, subject, detail))
