"""Indexes into which what is written now goes side by side.

Those of addresses had their order from nowhere: each mail and each report read and wrote a page of its own, the more of
them the longer. Now they go by time first, which is that of the rows, in parts so small that what is written in one go
shares their pages. Only bounces, which are few, stay in the order of addresses. Programs of the releases before go on
writing beside this one; what they look up by an address takes them long.
"""

# Each statement is a transaction, as in 0005: what was done stays done, should it be ended, and is left out next time.
# What the new programs need is there before the old index goes.
atomic = False

MADE = (
    "recipients_of_address ON recipients ((id / 8192), address_key)",
    "events_of_address ON events ((id / 8192), address_key)",
    "events_bounced ON events (blamed_key, occurred_at) WHERE kind = 'Bounce' AND blamed_key IS NOT NULL",
    (
        "events_delivered ON events ((id / 8192), blamed_key, occurred_at)"
        " WHERE kind = 'Delivery' AND blamed_key IS NOT NULL"
    ),
    "events_delivered_mail ON events (ses_message_id) WHERE kind = 'Delivery'",
)
DROPPED = ("recipient_address_key", "event_address_key", "events_blaming")
# Of the schema between two releases.
NEVER_RELEASED = ("recipients_by_address", "events_by_address")


def up(migrator, db):
    for index in MADE:
        db.execute_sql(f"CREATE INDEX IF NOT EXISTS {index}")
    for name in DROPPED + NEVER_RELEASED:
        db.execute_sql(f"DROP INDEX IF EXISTS {name}")
