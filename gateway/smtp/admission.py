"""Who may send through this front: the credentials, read anew every other second so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from gateway.credentials import Credential, Network, Secret, by_network, digest_of
from gateway.envelope import LOCAL_CREDENTIAL
from gateway.logs import get_logger
from gateway.smtp.session import Session
from gateway.store.errors import StoreError

log = get_logger(__name__)

READ_EVERY = 2.0  # seconds; so long a credential that was shut still works
_KEPT_ADDRESSES = 10_000
VALID_FOR = 300.0  # seconds that they count after they could be read for the last time


class CredentialSource(Protocol):
    def all(self) -> Sequence[Credential]:
        """StoreUnavailableError when they cannot be read. May block."""

    def used(self, secret_ids: Iterable[int], at: datetime, *, names: Iterable[str] = ()) -> None:
        """Note it, soon and without making anybody wait."""


class OnlyLocal:
    """Where no credentials are kept: the networks of `local`, which are a setting."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._local = Credential(name=LOCAL_CREDENTIAL, application=LOCAL_CREDENTIAL, networks=tuple(networks))

    def all(self) -> Sequence[Credential]:
        return (self._local,)

    def used(self, secret_ids: Iterable[int], at: datetime, *, names: Iterable[str] = ()) -> None:
        """Nobody asks."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A credential, and the secret of it that a client knew."""

    credential: Credential
    secret: Secret


_NEVER = datetime.fromtimestamp(0, UTC)
# Compared with where a user name is unknown, so that this takes as long as a wrong secret does.
_NOBODY = Credential(name="", application="", secrets=(Secret(0, digest_of(""), _NEVER, _NEVER, None),))


class Admission:
    """The credentials as they were a moment ago. For use on the event loop: nothing here blocks it."""

    def __init__(
        self, source: CredentialSource, *, read_every: float = READ_EVERY, valid_for: float = VALID_FOR
    ) -> None:
        self._source = source
        self._read_every = read_every
        self._valid_for = valid_for
        self._thread = ThreadPoolExecutor(1, "smtp-credentials")  # its own: look-ups of others may be slow
        self._by_name: dict[str, Credential] = {}
        # What was found since the last reading, for it is asked several times a message.
        self._by_address: dict[IPv4Address | IPv6Address, Credential | None] = {}
        self._noted: set[str] = set()
        self._valid_until = float("-inf")
        self._first_read = asyncio.Event()
        self._is_away = False
        self._reading: asyncio.Task[None] | None = None

    def learn(self, credentials: Iterable[Credential], valid_until: float) -> None:
        """Take these for what there is, until that time on the loop's clock."""
        self._by_name = {credential.name: credential for credential in credentials}
        self._by_address.clear()
        self._noted.clear()
        self._valid_until = valid_until

    async def start(self, patience: float) -> None:
        """Read them, and again and again until `end`. After `patience` seconds go on without the first reading."""
        self._reading = asyncio.create_task(self._keep_reading())
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._first_read.wait()

    async def end(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def is_known(self) -> bool:
        """Whether they were read lately enough to refuse somebody by them."""
        return asyncio.get_running_loop().time() < self._valid_until

    def of_address(self, address: IPv4Address | IPv6Address | None) -> Credential | None:
        """Whose machine a client is."""
        if address is None:
            return None
        if address not in self._by_address:
            if len(self._by_address) == _KEPT_ADDRESSES:
                self._by_address.clear()
            self._by_address[address] = by_network(self._by_name.values(), address)
        return self._by_address[address]

    def of_secret(self, name: str, secret_id: int) -> Credential | None:
        """The credential of a client that has authenticated, as it is now; None when that secret is good no more."""
        credential = self._by_name.get(name)
        if credential is None or not credential.enabled:
            return None
        live = credential.live_secrets(datetime.now(UTC))
        return credential if any(secret.id == secret_id for secret in live) else None

    def renew(self, session: Session) -> bool:
        """Give a session that has authenticated its credential as it is now; False when its secret is good no more."""
        if session.credential is not None and session.secret_id is not None:
            session.credential = self.of_secret(session.credential.name, session.secret_id)
        return session.credential is not None

    def authenticated(self, name: str, password: str, client_address: str) -> Admitted | None:
        """None for an unknown name, a disabled credential and a wrong secret: nobody learns which."""
        now = datetime.now(UTC)
        credential = self._by_name.get(name, _NOBODY)
        secret = credential.matching(password, now)
        if secret is None:
            # The name only if there is one: what was typed there by mistake may be a secret.
            known = {} if credential is _NOBODY else {"credential": name, "enabled": credential.enabled}
            log.warning("auth.failed", client=client_address, **known)
            return None
        self._source.used((secret.id,), now)
        return Admitted(credential, secret)

    def noted(self, credential: Credential) -> None:
        """A client has sent that has this credential for its network; told once between two readings."""
        if credential.name in self._noted:
            return
        self._noted.add(credential.name)
        self._source.used((), datetime.now(UTC), names=(credential.name,))

    async def _keep_reading(self) -> None:
        while True:
            await self._read()
            await asyncio.sleep(self._read_every)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        try:
            credentials = await loop.run_in_executor(self._thread, self._source.all)
        except StoreError as error:
            self._missed(str(error))
        except Exception:  # a defect of one reading must not end all that would follow
            log.exception("credentials.failed")
        else:
            self.learn(credentials, asked_at + self._valid_for)
            self._first_read.set()
            if self._is_away:
                self._is_away = False
                log.info("credentials.read_again")

    def _missed(self, reason: str) -> None:
        """Once for each time that the database is away."""
        if not self._is_away:
            self._is_away = True
            log.warning("credentials.not_read", error=reason, known_for=f"{self._valid_for:.0f} s")
