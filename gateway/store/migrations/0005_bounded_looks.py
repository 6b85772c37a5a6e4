"""Indexes by which the dispatcher's clock looks at what is unusual, however much there is of what is usual.

Programs of the releases before go on writing beside this one.
"""


def up(migrator, db):
    db.execute_sql(
        "CREATE INDEX recipients_unsettled ON recipients (status, changed_at) WHERE status IN ('AMBIGUOUS', 'HELD')"
    )
    db.execute_sql(
        "CREATE INDEX notifications_marked ON notifications (dispatched_until)"
        " WHERE processed_at IS NULL AND dispatched_until IS NOT NULL"
    )
