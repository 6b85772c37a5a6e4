"""Everything that exists in the simulated AWS, over one database."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sandbox.accepted import AcceptedCopies
from gateway.sandbox.database import Database
from gateway.sandbox.outbox import Outbox
from gateway.sandbox.records import Records
from gateway.sandbox.ses_resources import ConfigurationSets, EventDestinations, Identities, SuppressionList
from gateway.sandbox.sns_resources import Subscriptions, Topics


@dataclass(frozen=True)
class Resources:
    """`database` is here for the transactions that span several of them."""

    database: Database
    records: Records
    copies: AcceptedCopies
    configuration_sets: ConfigurationSets
    destinations: EventDestinations
    identities: Identities
    suppressions: SuppressionList
    topics: Topics
    subscriptions: Subscriptions
    outbox: Outbox

    @classmethod
    def over(cls, database: Database) -> Resources:
        return cls(
            database,
            Records(database),
            AcceptedCopies(database),
            ConfigurationSets(database),
            EventDestinations(database),
            Identities(database),
            SuppressionList(database),
            Topics(database),
            Subscriptions(database),
            Outbox(database),
        )
