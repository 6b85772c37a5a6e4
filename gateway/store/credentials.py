"""The store of credentials: who may send, and what each of them is allowed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, Unpack

from gateway.credentials import (
    MAX_LIVE_SECRETS,
    PERIODS,
    Credential,
    CredentialError,
    Network,
    Secret,
    Terms,
    check_name,
    checked,
    make_secret,
)
from gateway.envelope import LOCAL_CREDENTIAL
from gateway.store.audit import record
from gateway.store.credential_rows import add_secret, delete_secrets, moment_of, read, write_terms
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.sql import Row, Sql, marks
from gateway.store.suppression_rows import end_scope
from gateway.store.times import from_micros, now_micros, span, to_micros
from gateway.store.usage import one_at_a_time, used

T = TypeVar("T")
Key = TypeVar("Key", int, str)

_ENDED_AT_ONCE = 500  # suppressions, in one transaction
_USED_EVERY = timedelta(minutes=1)
_LONGEST_OVERLAP = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Standing:
    """A credential as an operator looks at it. While `held_at` is set, what it sends is accepted and waits.

    `used` counts the recipients that were accepted in the period of each cap there is, by the period's name.
    """

    credential: Credential
    created_at: datetime
    disabled_at: datetime | None
    held_at: datetime | None
    held_reason: str
    last_used_at: datetime | None
    used: dict[str, int]


class Credentials:
    """Read by the fronts every few seconds, changed by an operator. Every change is in the audit, no secret is."""

    def __init__(self, db: Database, local_networks: Collection[Network]) -> None:
        """`local_networks` are those of the credential `local`, which are a setting."""
        self._db = db
        self._local_networks = tuple(local_networks)
        self._noted: dict[tuple[str, int | str], datetime] = {}
        self._noting = threading.Lock()

    # Looking

    def all(self) -> list[Credential]:
        """Every credential, by name. StoreUnavailableError when they cannot be read."""
        with self._db.read() as sql:
            return list(read(sql, self._local_networks).values())

    def find(self, name: str) -> Credential | None:
        with self._db.read() as sql:
            return self._find(sql, name)

    def standings(self) -> list[Standing]:
        """Every credential with what happened to it, by name."""
        with self._db.read() as sql:
            credentials = read(sql, self._local_networks)
            rows = sql.all(
                "SELECT id, name, created_at, disabled_at, held_at, held_reason, last_used_at FROM credentials"
                " ORDER BY name"
            )
            return [_standing(sql, row, credentials[row[1]]) for row in rows if row[1] in credentials]

    # Changing

    def add(self, name: str, *, actor: str, secret: bool = True, **terms: Unpack[Terms]) -> str:
        """A new credential; its secret, which cannot be had again, or an empty text when none was wanted.

        CredentialError when something is malformed, StoreError when the name or a network is taken.
        """
        check_name(name)
        given = checked(terms)
        if not secret and not given.get("networks"):
            raise CredentialError("A credential needs a secret, or networks, or both.")
        made = make_secret() if secret else ""

        def work(sql: Sql) -> str:
            _refuse_taken_name(sql, name)
            id_ = int(
                sql.value("INSERT INTO credentials (name, created_at) VALUES (?, ?) RETURNING id", (name, now_micros()))
            )
            write_terms(sql, id_, given)
            if made:
                add_secret(sql, id_, made)
            record(sql, actor, "credentials.add", name, _told(given, secret=secret))
            self._refuse_shared_networks(sql, name)
            return made

        return self._alone(work)

    def change(self, name: str, *, actor: str, **terms: Unpack[Terms]) -> Credential:
        """Give a credential other terms; what is not named stays. The credential as it is then.

        CredentialError when something is malformed, StoreError when there is no such credential or a network is taken.
        """
        given = checked(terms)
        if name == LOCAL_CREDENTIAL and "networks" in given:
            raise StoreError(f"The networks of {LOCAL_CREDENTIAL} are the setting SESGATE_TRUSTED_NETWORKS.")

        def work(sql: Sql) -> Credential:
            id_, before = self._require(sql, name)
            write_terms(sql, id_, given)
            after = self._require(sql, name)[1]
            if "networks" in given and not (after.secrets or after.networks):
                raise StoreError(f"{name} has no secret: without networks nobody could send under it; disable it.")
            self._refuse_shared_networks(sql, name)
            record(sql, actor, "credentials.change", name, _difference(before, after, given))
            return after

        return self._alone(work)

    def rotate(self, name: str, *, overlap: timedelta, actor: str, again: bool = False) -> str:
        """A new secret; the one there was stays good for `overlap`, which may be nothing.

        `again` throws the newest away first, for whoever lost it. CredentialError when the overlap is too long,
        StoreError when the secret is being replaced already, or the newest one is in use.
        """
        if not timedelta(0) <= overlap <= _LONGEST_OVERLAP:
            raise CredentialError(f"Two secrets are good side by side for {_LONGEST_OVERLAP.days} days at most.")
        made = make_secret()

        def work(sql: Sql) -> str:
            id_, credential = self._require(sql, name)
            if name == LOCAL_CREDENTIAL:
                raise StoreError(
                    f"{LOCAL_CREDENTIAL} is for SESGATE_TRUSTED_NETWORKS and has no secrets; add a credential instead."
                )
            now = now_micros()
            kept = _kept(credential, from_micros(now), again=again)
            delete_secrets(sql, [secret for secret in credential.secrets if secret not in kept])
            sql.run("UPDATE credential_secrets SET expires_at = ? WHERE credential_id = ?", (now + span(overlap), id_))
            add_secret(sql, id_, made)
            record(sql, actor, "credentials.rotate", name, f"the one before is good for {overlap}" if kept else "")
            return made

        return self._alone(work)

    def finish_rotation(self, name: str, *, actor: str) -> bool:
        """End every secret but the newest now. False when there was no other. StoreError without such a credential."""

        def work(sql: Sql) -> bool:
            credential = self._require(sql, name)[1]
            older = credential.secrets[:-1]
            delete_secrets(sql, older)
            ended = sum(secret.is_live(from_micros(now_micros())) for secret in older)
            if ended:
                record(sql, actor, "credentials.finish", name, f"{ended} ended")
            return ended > 0

        return self._alone(work)

    def disable(self, name: str, *, actor: str) -> bool:
        """Accept nothing more under a credential; what was accepted still goes out. False when it was so already.

        StoreError without such a credential.
        """
        return self._switch(name, now_micros(), actor, "credentials.disable")

    def enable(self, name: str, *, actor: str) -> bool:
        """False when it was enabled. StoreError without such a credential, or when another has its network by now."""
        return self._switch(name, None, actor, "credentials.enable")

    def remove(self, name: str, *, actor: str) -> None:
        """Forget a credential that has no mail. StoreError when it has, is built in, or is not there.

        What was suppressed for it alone ends with it. When that is much it takes several transactions, of which the
        first one shuts the credential: no mail comes in between.
        """

        def work(sql: Sql) -> bool:
            id_, _ = self._require(sql, name)
            if name == LOCAL_CREDENTIAL:
                raise StoreError(f"{LOCAL_CREDENTIAL} is built in; `sesgate credentials disable {name}` shuts it.")
            if sql.value("SELECT 1 FROM messages WHERE credential_id = ? LIMIT 1", (id_,)) is not None:
                raise StoreError(
                    f"Mail of {name} is still kept, and says by this name whose it is;"
                    f" `sesgate credentials disable {name}` shuts it."
                )
            ended = end_scope(sql, name, by=actor, why=f"the credential {name} was removed", limit=_ENDED_AT_ONCE)
            if ended == _ENDED_AT_ONCE:
                now = now_micros()
                sql.run("UPDATE credentials SET disabled_at = coalesce(disabled_at, ?) WHERE id = ?", (now, id_))
                return False
            sql.run("DELETE FROM credentials WHERE id = ?", (id_,))
            record(sql, actor, "credentials.remove", name, "")
            return True

        while not self._alone(work):
            pass

    # Using

    def used(self, secret_ids: Iterable[int], at: datetime, *, names: Iterable[str] = ()) -> None:
        """Note when secrets and credentials were last used; at most once a minute each, and nobody waits for it."""
        secrets = self._not_noted("secret", secret_ids, at)
        credentials = self._not_noted("credential", names, at)
        if not secrets and not credentials:
            return
        moment, before = to_micros(at), to_micros(at - _USED_EVERY)

        def work(sql: Sql) -> None:
            for table, column, values in (
                ("credential_secrets", "id", secrets),
                ("credentials", "name", credentials),
            ):
                if values:
                    # A row that another has in hand is left: to wait for it here could be to wait for each other.
                    mine = (
                        f"SELECT id FROM {table} WHERE {column} IN ({marks(values)})"
                        f" AND (last_used_at IS NULL OR last_used_at <= ?){sql.to_take}"
                    )
                    sql.run(f"UPDATE {table} SET last_used_at = ? WHERE id IN ({mine})", (moment, *values, before))

        self._db.submit(work)

    def _not_noted(self, kind: str, keys: Iterable[Key], at: datetime) -> list[Key]:
        with self._noting:
            if len(self._noted) > _NOTED_AT_MOST:
                self._noted.clear()
            fresh = [
                key
                for key in dict.fromkeys(keys)
                if not timedelta(0) <= at - self._noted.get((kind, key), _LONG_AGO) < _USED_EVERY
            ]
            self._noted.update({(kind, key): at for key in fresh})
        return fresh

    # Inside transactions

    def _alone(self, work: Callable[[Sql], T]) -> T:
        """Changes of credentials are made one after another, so that what one looked at is still so at its end."""

        def run(sql: Sql) -> T:
            one_at_a_time(sql)
            return work(sql)

        return self._db.write(run)

    def _switch(self, name: str, disabled_at: int | None, actor: str, action: str) -> bool:
        def work(sql: Sql) -> bool:
            id_, credential = self._require(sql, name)
            if credential.enabled is (disabled_at is None):
                return False
            sql.run("UPDATE credentials SET disabled_at = ? WHERE id = ?", (disabled_at, id_))
            self._refuse_shared_networks(sql, name)
            record(sql, actor, action, name, "")
            return True

        return self._alone(work)

    def _require(self, sql: Sql, name: str) -> tuple[int, Credential]:
        id_ = sql.value("SELECT id FROM credentials WHERE name = ?", (name,))
        credential = self._find(sql, name)
        if credential is None:
            raise StoreError(f"There is no credential {name!r}; `sesgate credentials list` shows all.")
        return int(id_), credential

    def _find(self, sql: Sql, name: str) -> Credential | None:
        return read(sql, self._local_networks, name).get(name)

    def _refuse_shared_networks(self, sql: Sql, name: str) -> None:
        """StoreError when an enabled credential has a network that this one, being enabled, has too."""
        credentials = read(sql, self._local_networks)
        mine = credentials.pop(name)
        if not mine.enabled:
            return
        for other in credentials.values():
            shared = set(mine.networks) & set(other.networks) if other.enabled else set()
            for network in shared:
                raise StoreError(
                    f"{network} belongs to {other.name}, and a client can have one credential only;"
                    " take it away there first, or give a narrower network here."
                )


_NOTED_AT_MOST = 10_000
_LONG_AGO = from_micros(0)


def _standing(sql: Sql, row: Row, credential: Credential) -> Standing:
    moments = [secret.last_used_at for secret in credential.secrets] + [moment_of(row[6])]
    caps = {"minute": credential.per_minute, "day": credential.per_day}
    now = now_micros()
    return Standing(
        credential=credential,
        created_at=from_micros(row[2]),
        disabled_at=moment_of(row[3]),
        held_at=moment_of(row[4]),
        held_reason=row[5] or "",
        last_used_at=max(filter(None, moments), default=None),
        used={period.name: used(sql, row[0], period, now) for period in PERIODS if caps[period.name] is not None},
    )


def _kept(credential: Credential, now: datetime, *, again: bool) -> tuple[Secret, ...]:
    """The secrets that stay beside a new one. StoreError when that would be too many."""
    live = credential.live_secrets(now)
    if len(live) < MAX_LIVE_SECRETS:
        return live
    command = f"`sesgate credentials rotate {credential.name}"
    if not again:
        raise StoreError(
            f"{credential.name} has {len(live)} live secrets already; {command} --finish` ends the older one,"
            f" {command} --again` replaces the newer one if nobody uses it."
        )
    if live[-1].last_used_at is not None:
        raise StoreError(f"The newer secret of {credential.name} is in use; {command} --finish` ends the older one.")
    return live[:-1]


def _refuse_taken_name(sql: Sql, name: str) -> None:
    """Names that differ in case only would be one to a person who types them."""
    taken = sql.value("SELECT name FROM credentials WHERE LOWER(name) = LOWER(?)", (name,))
    if taken is not None:
        raise StoreError(f"There is a credential {taken!r} already; choose another name, or change that one.")


def _told(terms: Terms, *, secret: bool) -> str:
    told = [f"{name} {_spoken(value)}" for name, value in terms.items() if value]
    return "; ".join([*told, "with a secret" if secret else "without a secret"])


def _difference(before: Credential, after: Credential, terms: Terms) -> str:
    return "; ".join(
        f"{name}: {_spoken(getattr(before, name))} -> {_spoken(getattr(after, name))}"
        for name in terms
        if getattr(before, name) != getattr(after, name)
    )


def _spoken(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join("=".join(one) if isinstance(one, tuple) else str(one) for one in value) or "none"
    return "none" if value is None else str(value)
