"""Rates and holds by credential, and counters.

Everything new may be absent from a row, so programs of the release before go on writing beside this one.
"""

from peewee import BigIntegerField, CompositeKey, Model, TextField


class Tally(Model):
    name = TextField()
    label = TextField()
    count = BigIntegerField()

    class Meta:
        table_name = "tallies"
        primary_key = CompositeKey("name", "label")


def up(migrator, db):
    with db.bind_ctx([Tally], bind_refs=False, bind_backrefs=False):
        db.create_tables([Tally])
    migrator.migrate(
        migrator.add_column("credentials", "held_at", BigIntegerField(null=True)),
        migrator.add_column("credentials", "held_reason", TextField(null=True)),
        migrator.add_column("credentials", "held_by", TextField(null=True)),
        migrator.add_column("credentials", "judged_from", BigIntegerField(null=True)),
        migrator.add_column("recipients", "counted_at", BigIntegerField(null=True)),
    )
    db.execute_sql(
        "CREATE INDEX recipients_counted ON recipients (credential_id, counted_at) WHERE counted_at IS NOT NULL"
    )
    db.execute_sql(
        "CREATE INDEX recipients_blamed ON recipients (credential_id, counted_at)"
        " WHERE status IN ('BOUNCED', 'COMPLAINED')"
    )
