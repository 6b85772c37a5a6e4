"""The parts of one running sandbox, put together."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from gateway.sandbox import names, signing, wiring
from gateway.sandbox.account import AccountDesk
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.database import Database
from gateway.sandbox.delivery import Courier
from gateway.sandbox.envelopes import Stationery
from gateway.sandbox.fates import FateDesk
from gateway.sandbox.faults import FaultDesk
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.reporting import Reporter
from gateway.sandbox.resources import Resources
from gateway.sandbox.sending import Ses
from gateway.sandbox.signing import SigningIdentity


@dataclass(frozen=True)
class State:
    """Everything that `create_app` serves. Made by `open_state` in the process that serves, closed by it too."""

    config: SandboxConfig
    signing: SigningIdentity
    account: AccountDesk
    faults: FaultDesk
    fates: FateDesk
    resources: Resources
    publisher: Publisher
    ses: Ses
    courier: Courier
    stopping: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        """End stalled calls, receivers that wait and the courier's threads."""
        self.stopping.set()
        self.resources.queue_messages.arrivals.close()
        self.courier.stop()
        self.resources.database.close()


def open_state(config: SandboxConfig) -> State:
    """Open the directory (made if need be), wire it, and start delivering what was left waiting."""
    config.directory.mkdir(parents=True, exist_ok=True)
    resources = Resources.over(Database(config.directory / names.DATABASE_FILE))
    identity = signing.load_or_create(config.directory)
    faults, fates = FaultDesk(resources.records), FateDesk(resources.records)
    account = AccountDesk(resources.records)
    courier = Courier(config, resources, Stationery(identity, config.endpoint))
    publisher = Publisher(resources.topics, resources.subscriptions, resources.outbox, faults, courier.wake)
    wiring.wire(config, resources, publisher)
    courier.start()
    return State(
        config,
        identity,
        account,
        faults,
        fates,
        resources,
        publisher,
        Ses(config, resources, account, Reporter(config, resources, account, faults, fates, publisher)),
        courier,
    )
