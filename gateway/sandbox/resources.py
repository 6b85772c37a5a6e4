"""Everything that exists in the simulated AWS, over one database."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sandbox.accepted import AcceptedCopies
from gateway.sandbox.database import Database
from gateway.sandbox.identities import Identities
from gateway.sandbox.outbox import Outbox
from gateway.sandbox.records import Records
from gateway.sandbox.ses_resources import ConfigurationSets, EventDestinations
from gateway.sandbox.sns_resources import Subscriptions, Topics
from gateway.sandbox.sqs_messages import QueueMessages
from gateway.sandbox.sqs_queues import Queues
from gateway.sandbox.suppression_list import SuppressionList
from gateway.sandbox.tags import Tags


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
    queues: Queues
    queue_messages: QueueMessages
    tags: Tags

    @classmethod
    def over(cls, database: Database) -> Resources:
        queues = Queues(database)
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
            queues,
            QueueMessages(database, queues),
            Tags(database),
        )
