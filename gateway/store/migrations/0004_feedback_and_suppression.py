"""Suppressions of domains and of one credential, with an end, a note and a history; imports; whom an event blames.

Everything new may be absent from a row, so programs of the releases before go on writing beside this one. The key of a
suppression stays what it was for an address that nobody may mail.
"""

from peewee import BigAutoField, BigIntegerField, CompositeKey, ForeignKeyField, Model, TextField


class SuppressionHistory(Model):
    id = BigAutoField()
    address_key = TextField()
    address = TextField()
    scope = TextField(default="")
    reason = TextField()
    source = TextField()
    detail = TextField(default="")
    note = TextField(default="")
    actor = TextField(default="")
    since = BigIntegerField()
    created_at = BigIntegerField(null=True)
    expires_at = BigIntegerField(null=True)
    event_id = BigIntegerField(null=True)
    ended_at = BigIntegerField()
    ended_by = TextField()
    ended_why = TextField()

    class Meta:
        table_name = "suppression_history"


class SuppressionImport(Model):
    id = BigAutoField()
    source = TextField()
    actor = TextField()
    started_at = BigIntegerField()
    row_count = BigIntegerField(null=True)
    ready_at = BigIntegerField(null=True)
    carried_at = BigIntegerField(null=True)
    carried = BigIntegerField(default=0)
    added = BigIntegerField(default=0)
    changed = BigIntegerField(default=0)
    audit_id = BigIntegerField(null=True)

    class Meta:
        table_name = "suppression_imports"


class SuppressionImportRow(Model):
    suppression_import = ForeignKeyField(SuppressionImport, on_delete="CASCADE", index=False)
    ordinal = BigIntegerField()
    address_key = TextField()
    address = TextField()
    scope = TextField()
    reason = TextField()
    source = TextField()
    detail = TextField()
    note = TextField()
    since = BigIntegerField()
    expires_at = BigIntegerField(null=True)

    class Meta:
        table_name = "suppression_import_rows"
        primary_key = CompositeKey("suppression_import", "ordinal")


TABLES = (SuppressionHistory, SuppressionImport, SuppressionImportRow)

# By hand, for a default in the database is what the programs of the releases before need to leave the column out.
WITH_DEFAULT = ("scope", "note", "actor")

INDEXES = (
    "CREATE INDEX suppression_history_of ON suppression_history (address_key, ended_at)",
    "CREATE INDEX suppressions_expiring ON suppressions (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX suppressions_scoped ON suppressions (scope, address_key) WHERE scope <> ''",
    "CREATE INDEX events_blaming ON events (blamed_key, kind, occurred_at) WHERE blamed_key IS NOT NULL",
    "CREATE INDEX attempts_accepted ON attempts (started_at) WHERE outcome = 'accepted'",
)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES)
    for column in WITH_DEFAULT:
        db.execute_sql(f"ALTER TABLE suppressions ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    migrator.migrate(
        migrator.add_column("suppressions", "created_at", BigIntegerField(null=True)),
        migrator.add_column("suppressions", "expires_at", BigIntegerField(null=True)),
        migrator.add_column("suppressions", "event_id", BigIntegerField(null=True)),
        migrator.add_column("events", "blamed_key", TextField(null=True)),
    )
    for index in INDEXES:
        db.execute_sql(index)
    # What a monitor reads as a number of suppressions is counted as they come and go: counting ten million rows at
    # each scrape would take seconds.
    db.execute_sql(
        "INSERT INTO tallies (name, label, count) SELECT 'suppressions_begun', reason, count(*) FROM suppressions"
        " GROUP BY reason"
    )
