"""Indexes into which what is written now goes side by side.

The one by which an address is judged had all bounces and deliveries in the order of addresses, so each delivery read
and wrote a page of its own, the more of them the longer. Now that order has bounces only, which are few; deliveries go
by time first, which is that of their rows, and that of the ids that SES gives. And so does the index of recipients'
addresses, in parts so small that a group of accepted messages shares its pages. Programs of the releases before go on
writing beside this one; what they look up by an address takes them long.
"""

# Each statement is a transaction, as in 0005: what was done stays done, should it be ended, and is left out next time.
# What the new programs need is there before the old index goes.
atomic = False


def up(migrator, db):
    db.execute_sql("CREATE INDEX IF NOT EXISTS recipients_of_address ON recipients ((id / 8192), address_key)")
    for former in ("recipient_address_key", "recipients_by_address"):  # the latter before there was a release with it
        db.execute_sql(f"DROP INDEX IF EXISTS {former}")
    db.execute_sql(
        "CREATE INDEX IF NOT EXISTS events_bounced ON events (blamed_key, occurred_at)"
        " WHERE kind = 'Bounce' AND blamed_key IS NOT NULL"
    )
    db.execute_sql(
        "CREATE INDEX IF NOT EXISTS events_delivered ON events ((id / 65536), blamed_key, occurred_at)"
        " WHERE kind = 'Delivery' AND blamed_key IS NOT NULL"
    )
    db.execute_sql(
        "CREATE INDEX IF NOT EXISTS events_delivered_mail ON events (ses_message_id) WHERE kind = 'Delivery'"
    )
    db.execute_sql("DROP INDEX IF EXISTS events_blaming")
