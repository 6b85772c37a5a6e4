"""Secrets, networks, limits and use of credentials, and indexes for what must not read finished mail.

Everything new may be absent from a row, so programs of the releases before go on writing beside this one.
"""

from peewee import (
    BigAutoField,
    BigIntegerField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


class Credential(Model):
    class Meta:
        table_name = "credentials"


class CredentialSecret(Model):
    id = BigAutoField()
    credential = ForeignKeyField(Credential, on_delete="CASCADE")
    digest = TextField()
    created_at = BigIntegerField()
    expires_at = BigIntegerField(null=True)
    last_used_at = BigIntegerField(null=True)

    class Meta:
        table_name = "credential_secrets"


class CredentialNetwork(Model):
    credential = ForeignKeyField(Credential, on_delete="CASCADE", index=False)
    network = TextField()

    class Meta:
        table_name = "credential_networks"
        primary_key = CompositeKey("credential", "network")


class CredentialUsage(Model):
    credential = ForeignKeyField(Credential, on_delete="CASCADE", index=False)
    period = TextField()
    begun_at = BigIntegerField(index=True)
    recipients = BigIntegerField()

    class Meta:
        table_name = "credential_usage"
        primary_key = CompositeKey("credential", "period", "begun_at")


TABLES = (CredentialSecret, CredentialNetwork, CredentialUsage)

INDEXES = (
    "CREATE INDEX recipients_ended ON recipients (ended_at, id) WHERE ended_at IS NOT NULL",
    (
        "CREATE INDEX recipients_given_up ON recipients (status, ended_at, id)"
        " WHERE status IN ('SUPPRESSED', 'FAILED', 'EXPIRED', 'CANCELLED')"
    ),
    (
        "CREATE INDEX notifications_not_understood ON notifications (id)"
        " WHERE processed_at IS NULL AND next_attempt_at IS NULL AND message IS NOT NULL"
    ),
    (
        "CREATE INDEX notifications_done ON notifications (received_at)"
        " WHERE next_attempt_at IS NULL AND message IS NOT NULL"
    ),
)


def up(migrator, db):
    with db.bind_ctx((Credential, *TABLES), bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES)
    migrator.migrate(
        migrator.add_column("credentials", "application", TextField(null=True)),
        migrator.add_column("credentials", "senders", TextField(null=True)),
        migrator.add_column("credentials", "max_message_bytes", BigIntegerField(null=True)),
        migrator.add_column("credentials", "per_minute", IntegerField(null=True)),
        migrator.add_column("credentials", "per_day", IntegerField(null=True)),
        migrator.add_column("credentials", "configuration_set", TextField(null=True)),
        migrator.add_column("credentials", "tags", TextField(null=True)),
        migrator.add_column("credentials", "suppressed_recipients", TextField(null=True)),
        migrator.add_column("credentials", "last_used_at", BigIntegerField(null=True)),
    )
    for index in INDEXES:
        db.execute_sql(index)
