"""The first schema: frozen copies of the tables, independent of what the models become."""

import time

from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    BlobField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


class Credential(Model):
    name = TextField(unique=True)
    created_at = BigIntegerField()
    disabled_at = BigIntegerField(null=True)

    class Meta:
        table_name = "credentials"


class Message(Model):
    id = BigAutoField()
    ulid = TextField(unique=True)
    credential = ForeignKeyField(Credential, on_delete="RESTRICT")
    reverse_path = TextField(null=True)
    client_address = TextField()
    helo = TextField()
    protocol = TextField()
    subject = TextField()
    header_from = TextField()
    header_message_id = TextField(null=True)
    size = BigIntegerField()
    accepted_at = BigIntegerField(index=True)

    class Meta:
        table_name = "messages"


class Content(Model):
    message = ForeignKeyField(Message, primary_key=True, on_delete="CASCADE")
    data = BlobField()

    class Meta:
        table_name = "contents"


class Recipient(Model):
    id = BigAutoField()
    message = ForeignKeyField(Message, on_delete="CASCADE")
    credential = ForeignKeyField(Credential, on_delete="RESTRICT", index=False)
    address = TextField()
    address_key = TextField(index=True)
    status = TextField()
    reason = TextField(default="")
    attempts = IntegerField(default=0)
    attempt_id = TextField(null=True)
    next_attempt_at = BigIntegerField()
    dispatched_until = BigIntegerField(null=True)
    claimed_until = BigIntegerField(null=True)
    expires_at = BigIntegerField()
    changed_at = BigIntegerField()
    ended_at = BigIntegerField(null=True)

    class Meta:
        table_name = "recipients"


Recipient.add_index(
    SQL(
        "CREATE INDEX recipients_due ON recipients (credential_id, next_attempt_at, id) WHERE status = 'QUEUED'",
    )
)
Recipient.add_index(
    SQL(
        "CREATE INDEX recipients_marked ON recipients (dispatched_until)"
        " WHERE status = 'QUEUED' AND dispatched_until IS NOT NULL",
    )
)
Recipient.add_index(
    SQL("CREATE INDEX recipients_claimed ON recipients (claimed_until) WHERE status = 'SENDING'"),
)
Recipient.add_index(
    SQL(
        "CREATE INDEX recipients_unfinished ON recipients (status, expires_at)"
        " WHERE status IN ('QUEUED', 'AMBIGUOUS', 'HELD')",
    )
)
Recipient.add_index(
    SQL(
        "CREATE INDEX recipients_ageing ON recipients (changed_at)"
        " WHERE ended_at IS NULL AND status IN ('SENT', 'DELAYED', 'SOFT_BOUNCED')",
    )
)


class Attempt(Model):
    id = BigAutoField()
    attempt_id = TextField(unique=True)
    recipient = ForeignKeyField(Recipient, on_delete="CASCADE")
    started_at = BigIntegerField()
    finished_at = BigIntegerField(null=True)
    outcome = TextField(null=True)
    detail = TextField(default="")
    ses_message_id = TextField(null=True, index=True)

    class Meta:
        table_name = "attempts"


class Notification(Model):
    id = BigAutoField()
    sns_message_id = TextField(unique=True)
    topic_arn = TextField()
    message = TextField(null=True)
    sent_at = BigIntegerField()
    received_at = BigIntegerField(index=True)
    next_attempt_at = BigIntegerField(null=True)
    dispatched_until = BigIntegerField(null=True)
    processed_at = BigIntegerField(null=True)
    error = TextField(default="")

    class Meta:
        table_name = "notifications"


Notification.add_index(
    SQL(
        "CREATE INDEX notifications_due ON notifications (next_attempt_at)"
        " WHERE processed_at IS NULL AND next_attempt_at IS NOT NULL",
    )
)


class Event(Model):
    id = BigAutoField()
    dedupe_key = TextField(unique=True)
    notification = ForeignKeyField(Notification, null=True, on_delete="SET NULL")
    recipient = ForeignKeyField(Recipient, null=True, on_delete="CASCADE")
    attempt_id = TextField(null=True)
    ses_message_id = TextField()
    kind = TextField()
    bounce_type = TextField(null=True)
    sub_type = TextField(null=True)
    complaint_type = TextField(null=True)
    address = TextField(null=True)
    address_key = TextField(null=True, index=True)
    diagnostic = TextField(null=True)
    status_code = TextField(null=True)
    occurred_at = BigIntegerField()
    stored_at = BigIntegerField(index=True)

    class Meta:
        table_name = "events"


class Suppression(Model):
    address_key = TextField(primary_key=True)
    address = TextField()
    reason = TextField()
    source = TextField()
    detail = TextField(default="")
    since = BigIntegerField()

    class Meta:
        table_name = "suppressions"


class Control(Model):
    key = TextField(primary_key=True)
    value = TextField()
    holder = TextField(default="")
    epoch = BigIntegerField(default=0)
    beat = BigIntegerField(default=0)
    until = BigIntegerField(null=True)
    changed_at = BigIntegerField()

    class Meta:
        table_name = "control"


class Audit(Model):
    id = BigAutoField()
    at = BigIntegerField()
    actor = TextField()
    action = TextField()
    subject = TextField()
    detail = TextField(default="")

    class Meta:
        table_name = "audit"


TABLES = (
    Credential,
    Message,
    Content,
    Recipient,
    Attempt,
    Notification,
    Event,
    Suppression,
    Control,
    Audit,
)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES)
    now = int(time.time() * 1_000_000)
    db.execute_sql(f"INSERT INTO credentials (name, created_at) VALUES ('local', {now})")
