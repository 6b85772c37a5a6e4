"""Release 0.1 as its data and its running programs look to a later one. None of this follows the code: it is history.

The statements are the ones that release 0.1 runs, and the messages are what it leaves in Redis. A later release may
share a database and a broker with them while it is rolled out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MIGRATION = "0001_initial"

Run = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]

# Statements

INSERT_MESSAGE = (
    "INSERT INTO messages (ulid, credential_id, reverse_path, client_address, helo, protocol, subject, header_from,"
    " header_message_id, size, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
)
INSERT_CONTENT = "INSERT INTO contents (message_id, data) VALUES (?, ?)"
INSERT_RECIPIENT = (
    "INSERT INTO recipients (message_id, credential_id, address, address_key, status, reason, attempts,"
    " next_attempt_at, expires_at, changed_at) VALUES (?, ?, ?, ?, ?, '', 0, ?, ?, ?)"
)
MARK = "UPDATE recipients SET dispatched_until = ? WHERE id = ? AND status = 'QUEUED'"
CLAIM = (
    "UPDATE recipients SET status = ?, reason = '', attempt_id = ?, claimed_until = ?,"
    " dispatched_until = NULL, changed_at = ? WHERE id = ? AND status = ? AND dispatched_until > ?"
    " AND next_attempt_at <= ? AND NOT EXISTS"
    " (SELECT 1 FROM control WHERE key IN ('pause', 'circuit') AND (until IS NULL OR until > ?))"
)
BEGIN_ATTEMPT = (
    "UPDATE recipients SET attempts = attempts + 1, claimed_until = ? WHERE id = ?",
    "INSERT INTO attempts (attempt_id, recipient_id, started_at, detail) VALUES (?, ?, ?, '')",
)
FINISH_ATTEMPT = "UPDATE attempts SET finished_at = ?, outcome = ?, detail = ?, ses_message_id = ? WHERE attempt_id = ?"
HAPPEN = (
    "UPDATE recipients SET status = ?, reason = ?, changed_at = ?, ended_at = ?, dispatched_until = NULL,"
    " claimed_until = NULL WHERE id = ?"
)
INSERT_NOTIFICATION = (
    "INSERT INTO notifications (sns_message_id, topic_arn, message, sent_at, received_at, next_attempt_at,"
    " error) VALUES (?, ?, ?, ?, ?, ?, '') ON CONFLICT (sns_message_id) DO NOTHING RETURNING id"
)
PROCESS_NOTIFICATION = (
    "UPDATE notifications SET processed_at = ?, next_attempt_at = NULL, dispatched_until = NULL, error = ''"
    " WHERE id = ? AND processed_at IS NULL"
)
INSERT_EVENT = (
    "INSERT INTO events (dedupe_key, notification_id, recipient_id, attempt_id, ses_message_id, kind,"
    " bounce_type, sub_type, complaint_type, address, address_key, diagnostic, status_code, occurred_at,"
    " stored_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (dedupe_key) DO NOTHING"
)
INSERT_SUPPRESSION = (
    "INSERT INTO suppressions (address_key, address, reason, source, detail, since) VALUES (?, ?, ?, ?, ?, ?)"
)
PUT_CONTROL = (
    "INSERT INTO control (key, value, holder, epoch, beat, until, changed_at) VALUES (?, ?, '', 0, 0, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, until = excluded.until,"
    " changed_at = excluded.changed_at"
)
INSERT_LEASE = (
    "INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES ('dispatcher', '{}', ?, ?, 0, ?)"
)
BEAT = "UPDATE control SET beat = beat + 1, changed_at = ? WHERE key = ? AND epoch = ? AND holder = ?"
INSERT_AUDIT = "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)"


# What it leaves in Redis

_TASK = """{"body": "%(body)s",
 "content-encoding": "utf-8", "content-type": "application/json",
 "headers": {"lang": "py", "task": "%(task)s", "id": "%(id)s", "shadow": null, "eta": null, "expires": null,
  "group": null, "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "%(id)s", "parent_id": null,
  "argsrepr": "([1],)", "kwargsrepr": "{}", "origin": "gen4711@mail1", "ignore_result": true,
  "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}},
 "properties": {"correlation_id": "%(id)s", "reply_to": "9fa5b5b6-83d9-3230-b4b4-7ca4b9311352",
  "argsrepr": "([1],)", "delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": "%(task)s"},
  "priority": 0, "body_encoding": "base64", "delivery_tag": "%(id)s"}}"""
_EMBED = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'


def task(name: str, ids: Sequence[int]) -> tuple[str, str]:
    """The Redis list and the entry of a published task: `sesgate.send` or `sesgate.feedback`."""
    body = f"[[{json.dumps(list(ids))}], {{}}, {_EMBED}]"
    number = f"7469e0df-e0e2-40d0-b1d6-{ids[0]:012d}"
    entry = _TASK % {"body": base64.b64encode(body.encode()).decode(), "task": name, "id": number}
    return f"sesgate:{name}", entry


# What it leaves in the database

SECOND = 1_000_000
_HOUR = 3600 * SECOND
CONTENT = b"From: shop@example.org\r\nTo: a@example.com\r\nSubject: Your order\r\n\r\nThank you.\r\n"
# Statuses that stand for themselves, each with an attempt that SES took, or with none.
TAKEN = ("SENT", "DELAYED", "SOFT_BOUNCED", "DELIVERED", "REJECTED", "BOUNCED", "COMPLAINED")
NOT_TAKEN = ("HELD", "SUPPRESSED", "FAILED", "EXPIRED", "CANCELLED")
_ENDED = ("DELIVERED", "REJECTED", "BOUNCED", "COMPLAINED", "SUPPRESSED", "FAILED", "EXPIRED", "CANCELLED")

BOUNCE = """{"eventType": "Bounce", "mail": {"timestamp": "2026-11-21T22:10:00.000Z", "messageId": "ses-SENT",
 "destination": ["sent@example.com"], "tags": {"sesgate-attempt": ["%s"]}},
 "bounce": {"bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-11-21T22:10:03.250Z",
 "feedbackId": "feedback-1", "bouncedRecipients": [{"emailAddress": "sent@example.com"}]}}"""


@dataclass(frozen=True)
class Rows:
    """The ids of what `fill` left, by the name of what it stands for."""

    recipients: dict[str, int]
    notifications: dict[str, int]


def attempt_id(name: str) -> str:
    return name.lower().encode().hex().ljust(32, "0")[:32]


class Writer:
    """Runs the statements of release 0.1."""

    def __init__(self, run: Run, now: int) -> None:
        self._run = run
        self._now = now
        self._ids = 0

    def recipient(self, name: str) -> int:
        """Accept a message to name@example.com."""
        self._ids += 1
        now, address = self._now, f"{name.lower()}@example.com"
        credential = self._run("SELECT id FROM credentials WHERE name = ?", ("local",))[0][0]
        message = (f"01M80E7S6CBXP0226SZCMY{self._ids:04d}", credential, "shop@example.org", "192.0.2.1", "erp")
        rest = ("ESMTP", "Your order", "shop@example.org", "<1@example.org>", len(CONTENT), now)
        message_id = self._run(INSERT_MESSAGE, (*message, *rest))[0][0]
        self._run(INSERT_CONTENT, (message_id, CONTENT))
        self._run(INSERT_RECIPIENT, (message_id, credential, address, address, "QUEUED", now, now + 96 * _HOUR, now))
        return int(self._run("SELECT id FROM recipients WHERE message_id = ?", (message_id,))[0][0])

    def mark(self, id_: int, until: int) -> None:
        self._run(MARK, (until, id_))

    def claim(self, id_: int, name: str, until: int) -> None:
        now = self._now
        self.mark(id_, now + SECOND)
        self._run(CLAIM, ("SENDING", attempt_id(name), until, now, id_, "QUEUED", now, now, now))

    def begin(self, id_: int, name: str, until: int) -> None:
        self.claim(id_, name, self._now + SECOND)
        self._run(BEGIN_ATTEMPT[0], (until, id_))
        self._run(BEGIN_ATTEMPT[1], (attempt_id(name), id_, self._now))

    def finish(self, id_: int, name: str, outcome: str, status: str) -> None:
        ended = self._now if status in _ENDED else None
        taken = f"ses-{name}" if outcome == "accepted" else None
        self._run(FINISH_ATTEMPT, (self._now, outcome, taken or "a reason", taken, attempt_id(name)))
        self.happen(id_, status, ended)

    def happen(self, id_: int, status: str, ended: int | None) -> None:
        self._run(HAPPEN, (status, f"why it is {status}", self._now, ended, id_))

    def notification(self, name: str, message: str) -> int:
        now = self._now
        return int(self._run(INSERT_NOTIFICATION, (name, "arn:aws:sns:x", message, now, now, now + 2 * SECOND))[0][0])

    def beat(self) -> None:
        self._run(BEAT, (self._now, "dispatcher", 7, "old"))


def fill(run: Run, now: int) -> Rows:
    """Rows in every status, and everything that stands around them."""
    writer = Writer(run, now)
    recipients = _waiting(run, writer, now) | _under_way(writer, now)
    for status in TAKEN:
        recipients[status] = id_ = writer.recipient(status)
        writer.begin(id_, status, now + 120 * SECOND)
        writer.finish(id_, status, "accepted", status)
    for status in NOT_TAKEN:
        recipients[status] = id_ = writer.recipient(status)
        writer.happen(id_, status, now if status in _ENDED else None)
    notifications = _notifications(run, writer, now)
    event = ("key-1", notifications["processed"], recipients["BOUNCED"], attempt_id("BOUNCED"), "ses-BOUNCED", "Bounce")
    rest = ("Permanent", "General", None, "bounced@example.com", "bounced@example.com", "550 no", "5.1.1", now, now)
    run(INSERT_EVENT, (*event, *rest))
    run(INSERT_SUPPRESSION, ("bounced@example.com", "bounced@example.com", "bounce", "SES Bounce", "550 no", now))
    run(INSERT_AUDIT, (now, "root", "suppress", "bounced@example.com", ""))
    run(INSERT_LEASE, ("old", 7, now))
    run(PUT_CONTROL, ("account", '{"max_send_rate": 100.0, "max_24_hour_send": 50000.0, "at": 1.0}', None, now))
    return Rows(recipients, notifications)


def _waiting(run: Run, writer: Writer, now: int) -> dict[str, int]:
    waiting = {name: writer.recipient(name) for name in ("due", "marked", "lapsed-mark", "later")}
    writer.mark(waiting["marked"], now + 600 * SECOND)
    writer.mark(waiting["lapsed-mark"], now - SECOND)
    writer.begin(waiting["later"], "later", now + 120 * SECOND)
    writer.finish(waiting["later"], "later", "not accepted", "QUEUED")
    run("UPDATE recipients SET next_attempt_at = ?, attempts = attempts - ? WHERE id = ?",
        (now + _HOUR, 0, waiting["later"]))  # fmt: skip
    return waiting


def _under_way(writer: Writer, now: int) -> dict[str, int]:
    names = ("claimed", "lapsed-claim", "calling", "lapsed-call", "AMBIGUOUS")
    under_way = {name: writer.recipient(name) for name in names}
    writer.claim(under_way["claimed"], "claimed", now + 600 * SECOND)
    writer.claim(under_way["lapsed-claim"], "lapsed-claim", now - SECOND)
    writer.begin(under_way["calling"], "calling", now + 600 * SECOND)
    writer.begin(under_way["lapsed-call"], "lapsed-call", now - SECOND)
    writer.begin(under_way["AMBIGUOUS"], "AMBIGUOUS", now + 120 * SECOND)
    writer.finish(under_way["AMBIGUOUS"], "AMBIGUOUS", "ambiguous", "AMBIGUOUS")
    return under_way


def _notifications(run: Run, writer: Writer, now: int) -> dict[str, int]:
    bounce = BOUNCE % attempt_id("SENT")
    ids = {name: writer.notification(name, bounce) for name in ("unprocessed", "marked", "parked", "processed")}
    run("UPDATE notifications SET dispatched_until = ? WHERE id = ?", (now + 600 * SECOND, ids["marked"]))
    run("UPDATE notifications SET next_attempt_at = ?, dispatched_until = NULL, error = ? WHERE id = ?",
        (None, "it is not understood", ids["parked"]))  # fmt: skip
    run(PROCESS_NOTIFICATION, (now, ids["processed"]))
    return ids
