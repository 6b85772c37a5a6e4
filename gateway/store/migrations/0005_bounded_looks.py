"""Indexes by which the dispatcher's clock looks at what is unusual, however much there is of what is usual."""

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
