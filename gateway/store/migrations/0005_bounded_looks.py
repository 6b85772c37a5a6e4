"""Indexes by which the dispatcher's clock looks at what is unusual, however much there is of what is usual.

And those of addresses go by time first. Programs of the releases before go on writing beside this one; what they look
up by an address takes them long.
"""

# Each statement is a transaction, which has one table in hand and asks for one lock. A transaction that has made an
# index and asks for more on PostgreSQL, to drop one or for the next table, meets programs that have locked rows
# and now wait for it. So what was done stays done, should it be ended, and is left out the next time.
atomic = False


def up(migrator, db):
    db.execute_sql(
        "CREATE INDEX IF NOT EXISTS recipients_unsettled ON recipients (status, changed_at)"
        " WHERE status IN ('AMBIGUOUS', 'HELD')"
    )
    db.execute_sql(
        "CREATE INDEX IF NOT EXISTS notifications_marked ON notifications (dispatched_until)"
        " WHERE processed_at IS NULL AND dispatched_until IS NOT NULL"
    )
    for table, index in (("recipients", "recipient_address_key"), ("events", "event_address_key")):
        db.execute_sql(f"CREATE INDEX IF NOT EXISTS {table}_by_address ON {table} ((id / 65536), address_key)")
        db.execute_sql(f"DROP INDEX IF EXISTS {index}")
