"""The tables. Migrations hold frozen copies of their own; a test compares the two."""

from __future__ import annotations

import peewee

from gateway.store.times import UtcMicrosField

_EMPTY = peewee.SQL("DEFAULT ''")


class Table(peewee.Model):
    """Bound to no database: the stores speak SQL, and the tables stand here to be read and compared with."""

    class Meta:
        legacy_table_names = False


class Credential(Table):
    """Under whose name a message was accepted. `local` is built in. While it is held, nothing of it is sent."""

    name = peewee.TextField(unique=True)
    created_at = UtcMicrosField()
    disabled_at = UtcMicrosField(null=True)
    held_at = UtcMicrosField(null=True)
    held_reason = peewee.TextField(null=True)
    held_by = peewee.TextField(null=True)
    judged_from = UtcMicrosField(null=True)  # a person released it then: what was sent before is not held against it
    application = peewee.TextField(null=True)  # NULL: the name says it
    senders = peewee.TextField(null=True)  # a JSON list
    max_message_bytes = peewee.BigIntegerField(null=True)
    per_minute = peewee.IntegerField(null=True)
    per_day = peewee.IntegerField(null=True)
    configuration_set = peewee.TextField(null=True)
    tags = peewee.TextField(null=True)  # a JSON list of pairs
    suppressed_recipients = peewee.TextField(null=True)
    last_used_at = UtcMicrosField(null=True)

    class Meta:
        table_name = "credentials"


class CredentialSecret(Table):
    """What a client proves to know. The secret itself is nowhere: `digest` is its SHA-256 in hex."""

    id = peewee.BigAutoField()
    credential = peewee.ForeignKeyField(Credential, on_delete="CASCADE")
    digest = peewee.TextField()
    created_at = UtcMicrosField()
    expires_at = UtcMicrosField(null=True)
    last_used_at = UtcMicrosField(null=True)

    class Meta:
        table_name = "credential_secrets"


class CredentialNetwork(Table):
    """Whose machines need no secret. Those of `local` are a setting and not here."""

    credential = peewee.ForeignKeyField(Credential, on_delete="CASCADE", index=False)
    network = peewee.TextField()

    class Meta:
        table_name = "credential_networks"
        primary_key = peewee.CompositeKey("credential", "network")


class CredentialUsage(Table):
    """How many recipients were accepted in one step of a period; only for credentials with a cap."""

    credential = peewee.ForeignKeyField(Credential, on_delete="CASCADE", index=False)
    period = peewee.TextField()
    begun_at = UtcMicrosField(index=True)
    recipients = peewee.BigIntegerField()

    class Meta:
        table_name = "credential_usage"
        primary_key = peewee.CompositeKey("credential", "period", "begun_at")


class Message(Table):
    """One accepted mail transaction."""

    id = peewee.BigAutoField()
    ulid = peewee.TextField(unique=True)
    credential = peewee.ForeignKeyField(Credential, on_delete="RESTRICT")
    reverse_path = peewee.TextField(null=True)  # NULL is the null reverse-path
    client_address = peewee.TextField()
    helo = peewee.TextField()
    protocol = peewee.TextField()
    subject = peewee.TextField()
    header_from = peewee.TextField()
    header_message_id = peewee.TextField(null=True)
    size = peewee.BigIntegerField()
    accepted_at = UtcMicrosField(index=True)

    class Meta:
        table_name = "messages"


class Content(Table):
    """The octets of a message, apart: they are large, and go before the rest does."""

    message = peewee.ForeignKeyField(Message, primary_key=True, on_delete="CASCADE")
    data = peewee.BlobField()

    class Meta:
        table_name = "contents"


class Recipient(Table):
    """The unit of state. `attempt_id` is that of the claim in force or of the last one."""

    id = peewee.BigAutoField()
    message = peewee.ForeignKeyField(Message, on_delete="CASCADE")
    credential = peewee.ForeignKeyField(Credential, on_delete="RESTRICT", index=False)
    address = peewee.TextField()
    address_key = peewee.TextField()
    status = peewee.TextField()
    reason = peewee.TextField(default="")
    attempts = peewee.IntegerField(default=0)
    attempt_id = peewee.TextField(null=True)
    next_attempt_at = UtcMicrosField()
    dispatched_until = UtcMicrosField(null=True)
    claimed_until = UtcMicrosField(null=True)
    expires_at = UtcMicrosField()
    changed_at = UtcMicrosField()
    ended_at = UtcMicrosField(null=True)
    counted_at = UtcMicrosField(null=True)  # when SES took it; NULL also for the mailbox simulator, which never counts

    class Meta:
        table_name = "recipients"


Recipient.add_index(
    peewee.SQL("CREATE INDEX recipients_of_address ON recipients ((id / 8192), address_key)"),
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_due ON recipients (credential_id, next_attempt_at, id) WHERE status = 'QUEUED'",
    )
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_marked ON recipients (dispatched_until)"
        " WHERE status = 'QUEUED' AND dispatched_until IS NOT NULL",
    )
)
Recipient.add_index(
    peewee.SQL("CREATE INDEX recipients_claimed ON recipients (claimed_until) WHERE status = 'SENDING'"),
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_unfinished ON recipients (status, expires_at)"
        " WHERE status IN ('QUEUED', 'AMBIGUOUS', 'HELD')",
    )
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_unsettled ON recipients (status, changed_at) WHERE status IN ('AMBIGUOUS', 'HELD')",
    )
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_ageing ON recipients (changed_at)"
        " WHERE ended_at IS NULL AND status IN ('SENT', 'DELAYED', 'SOFT_BOUNCED')",
    )
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_counted ON recipients (credential_id, counted_at) WHERE counted_at IS NOT NULL",
    )
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_blamed ON recipients (credential_id, counted_at)"
        " WHERE status IN ('BOUNCED', 'COMPLAINED')",
    )
)
Recipient.add_index(
    peewee.SQL("CREATE INDEX recipients_ended ON recipients (ended_at, id) WHERE ended_at IS NOT NULL"),
)
Recipient.add_index(
    peewee.SQL(
        "CREATE INDEX recipients_given_up ON recipients (status, ended_at, id)"
        " WHERE status IN ('SUPPRESSED', 'FAILED', 'EXPIRED', 'CANCELLED')",
    )
)


class Attempt(Table):
    """One call to SES, written before it is made. A resend adds a row; an event may match any of them."""

    id = peewee.BigAutoField()
    attempt_id = peewee.TextField(unique=True)
    recipient = peewee.ForeignKeyField(Recipient, on_delete="CASCADE")
    started_at = UtcMicrosField()
    finished_at = UtcMicrosField(null=True)
    outcome = peewee.TextField(null=True)
    detail = peewee.TextField(default="")
    ses_message_id = peewee.TextField(null=True, index=True)

    class Meta:
        table_name = "attempts"


Attempt.add_index(
    peewee.SQL("CREATE INDEX attempts_accepted ON attempts (started_at) WHERE outcome = 'accepted'"),
)


class Notification(Table):
    """What SNS delivered, as it came: the inbox of feedback."""

    id = peewee.BigAutoField()
    sns_message_id = peewee.TextField(unique=True)
    topic_arn = peewee.TextField()
    message = peewee.TextField(null=True)  # NULL once its time of keeping is over
    sent_at = UtcMicrosField()
    received_at = UtcMicrosField(index=True)
    next_attempt_at = UtcMicrosField(null=True)  # NULL when nothing more is to be done by itself
    dispatched_until = UtcMicrosField(null=True)
    processed_at = UtcMicrosField(null=True)
    error = peewee.TextField(default="")

    class Meta:
        table_name = "notifications"


Notification.add_index(
    peewee.SQL(
        "CREATE INDEX notifications_due ON notifications (next_attempt_at)"
        " WHERE processed_at IS NULL AND next_attempt_at IS NOT NULL",
    )
)
Notification.add_index(
    peewee.SQL(
        "CREATE INDEX notifications_marked ON notifications (dispatched_until)"
        " WHERE processed_at IS NULL AND dispatched_until IS NOT NULL",
    )
)
Notification.add_index(
    peewee.SQL(
        "CREATE INDEX notifications_not_understood ON notifications (id)"
        " WHERE processed_at IS NULL AND next_attempt_at IS NULL AND message IS NOT NULL",
    )
)
Notification.add_index(
    peewee.SQL(
        "CREATE INDEX notifications_done ON notifications (received_at)"
        " WHERE next_attempt_at IS NULL AND message IS NOT NULL",
    )
)


class Event(Table):
    """One report of SES about one recipient, understood."""

    id = peewee.BigAutoField()
    dedupe_key = peewee.TextField(unique=True)
    notification = peewee.ForeignKeyField(Notification, null=True, on_delete="SET NULL")
    recipient = peewee.ForeignKeyField(Recipient, null=True, on_delete="CASCADE")
    attempt_id = peewee.TextField(null=True)
    ses_message_id = peewee.TextField()
    kind = peewee.TextField()
    bounce_type = peewee.TextField(null=True)
    sub_type = peewee.TextField(null=True)
    complaint_type = peewee.TextField(null=True)
    address = peewee.TextField(null=True)
    address_key = peewee.TextField(null=True)
    diagnostic = peewee.TextField(null=True)
    status_code = peewee.TextField(null=True)
    occurred_at = UtcMicrosField()
    stored_at = UtcMicrosField(index=True)
    blamed_key = peewee.TextField(null=True)  # of bounces and deliveries: whom they count for, or against

    class Meta:
        table_name = "events"


Event.add_index(
    peewee.SQL("CREATE INDEX events_of_address ON events ((id / 8192), address_key)"),
)
Event.add_index(
    peewee.SQL(
        "CREATE INDEX events_bounced ON events (blamed_key, occurred_at)"
        " WHERE kind = 'Bounce' AND blamed_key IS NOT NULL",
    )
)
Event.add_index(
    peewee.SQL(
        "CREATE INDEX events_delivered ON events ((id / 8192), blamed_key, occurred_at)"
        " WHERE kind = 'Delivery' AND blamed_key IS NOT NULL",
    )
)
Event.add_index(
    peewee.SQL("CREATE INDEX events_delivered_mail ON events (ses_message_id) WHERE kind = 'Delivery'"),
)


class Suppression(Table):
    """Whom nothing is sent to: an address, or `@` and a domain; with a scope only what that credential sends.

    The key is that of the address or domain, followed by `/` and the scope if there is one.
    """

    address_key = peewee.TextField(primary_key=True)
    address = peewee.TextField()
    reason = peewee.TextField()
    source = peewee.TextField()
    detail = peewee.TextField(default="")
    since = UtcMicrosField()
    scope = peewee.TextField(default="", constraints=[_EMPTY])  # the name of a credential; empty: all of them
    note = peewee.TextField(default="", constraints=[_EMPTY])
    actor = peewee.TextField(default="", constraints=[_EMPTY])
    created_at = UtcMicrosField(null=True)
    expires_at = UtcMicrosField(null=True)
    event_id = peewee.BigIntegerField(null=True)  # no foreign key: events go sooner

    class Meta:
        table_name = "suppressions"


Suppression.add_index(
    peewee.SQL("CREATE INDEX suppressions_expiring ON suppressions (expires_at) WHERE expires_at IS NOT NULL"),
)
Suppression.add_index(
    peewee.SQL("CREATE INDEX suppressions_scoped ON suppressions (scope, address_key) WHERE scope <> ''"),
)


class SuppressionHistory(Table):
    """A suppression that was in force, and how it ended. `address_key` is the subject's: the scope is beside it."""

    id = peewee.BigAutoField()
    address_key = peewee.TextField()
    address = peewee.TextField()
    scope = peewee.TextField(default="")
    reason = peewee.TextField()
    source = peewee.TextField()
    detail = peewee.TextField(default="")
    note = peewee.TextField(default="")
    actor = peewee.TextField(default="")
    since = UtcMicrosField()
    created_at = UtcMicrosField(null=True)
    expires_at = UtcMicrosField(null=True)
    event_id = peewee.BigIntegerField(null=True)
    ended_at = UtcMicrosField()
    ended_by = peewee.TextField()
    ended_why = peewee.TextField()

    class Meta:
        table_name = "suppression_history"


SuppressionHistory.add_index(
    peewee.SQL("CREATE INDEX suppression_history_of ON suppression_history (address_key, ended_at)"),
)


class SuppressionImport(Table):
    """A list that is read in. Until `ready_at` it is nothing; from then on it is carried out, whoever does it.

    `carried` of the `row_count` rows are done, in the order of their ordinals from 1; `carried_at` is when the last
    of them was.
    """

    id = peewee.BigAutoField()
    source = peewee.TextField()
    actor = peewee.TextField()
    started_at = UtcMicrosField()
    row_count = peewee.BigIntegerField(null=True)
    ready_at = UtcMicrosField(null=True)
    carried_at = UtcMicrosField(null=True)
    carried = peewee.BigIntegerField(default=0)
    added = peewee.BigIntegerField(default=0)
    changed = peewee.BigIntegerField(default=0)
    audit_id = peewee.BigIntegerField(null=True)  # no foreign key: the trail is nobody's child

    class Meta:
        table_name = "suppression_imports"


class SuppressionImportRow(Table):
    """A row of an import that is still to be carried out."""

    suppression_import = peewee.ForeignKeyField(SuppressionImport, on_delete="CASCADE", index=False)
    ordinal = peewee.BigIntegerField()
    address_key = peewee.TextField()
    address = peewee.TextField()
    scope = peewee.TextField()
    reason = peewee.TextField()
    source = peewee.TextField()
    detail = peewee.TextField()
    note = peewee.TextField()
    since = UtcMicrosField()
    expires_at = UtcMicrosField(null=True)

    class Meta:
        table_name = "suppression_import_rows"
        primary_key = peewee.CompositeKey("suppression_import", "ordinal")


class Control(Table):
    """What one program learns and another needs, and the dispatcher's lease. `until` NULL: in force until removed."""

    key = peewee.TextField(primary_key=True)
    value = peewee.TextField()
    holder = peewee.TextField(default="")
    epoch = peewee.BigIntegerField(default=0)
    beat = peewee.BigIntegerField(default=0)
    until = UtcMicrosField(null=True)
    changed_at = UtcMicrosField()

    class Meta:
        table_name = "control"


class Audit(Table):
    """Who changed what by hand."""

    id = peewee.BigAutoField()
    at = UtcMicrosField()
    actor = peewee.TextField()
    action = peewee.TextField()
    subject = peewee.TextField()
    detail = peewee.TextField(default="")

    class Meta:
        table_name = "audit"


class Tally(Table):
    """A counter that only grows, whatever becomes of the rows it counted."""

    name = peewee.TextField()
    label = peewee.TextField()
    count = peewee.BigIntegerField()

    class Meta:
        table_name = "tallies"
        primary_key = peewee.CompositeKey("name", "label")


TABLES = (
    Credential,
    Message,
    Content,
    Recipient,
    Attempt,
    Notification,
    Event,
    Suppression,
    SuppressionHistory,
    SuppressionImport,
    SuppressionImportRow,
    Control,
    Audit,
    Tally,
    CredentialSecret,
    CredentialNetwork,
    CredentialUsage,
)
