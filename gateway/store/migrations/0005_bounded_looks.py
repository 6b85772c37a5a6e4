"""Indexes by which the dispatcher's clock looks at what is unusual, however much there is of what is usual.

And those of addresses go by time first. Programs of the releases before go on writing beside this one; what they look
up by an address takes them long.
"""


def up(migrator, db):
    db.execute_sql(
        "CREATE INDEX recipients_unsettled ON recipients (status, changed_at) WHERE status IN ('AMBIGUOUS', 'HELD')"
    )
    db.execute_sql(
        "CREATE INDEX notifications_marked ON notifications (dispatched_until)"
        " WHERE processed_at IS NULL AND dispatched_until IS NOT NULL"
    )
    for table, index in (("recipients", "recipient_address_key"), ("events", "event_address_key")):
        db.execute_sql(f"CREATE INDEX {table}_by_address ON {table} ((id / 65536), address_key)")
        db.execute_sql(f"DROP INDEX {index}")
