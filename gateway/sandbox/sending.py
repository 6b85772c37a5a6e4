"""Taking a message the way SES takes it: checks, then a copy and its events in one commit, then the message id."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Final

from gateway.sandbox import checks, errors, mime, simulator, times
from gateway.sandbox.account import AccountDesk
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.events import Accepted
from gateway.sandbox.mime import Header
from gateway.sandbox.reporting import Reporter
from gateway.sandbox.resources import Resources

_SOURCE_IP: Final = "127.0.0.1"
"""Where every call comes from, as the events tell it."""

_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True)
class Submission:
    """A call to send. None stands for a parameter that was not given.

    `encoded_size` is the size after base64, which is what SES limits. `sender` replaces the From field of raw content
    in v2 and leaves it alone in v1. Without `destinations` the recipients stand in the header.
    """

    operation: str
    raw: bytes = field(repr=False)
    encoded_size: int
    size_limit: int
    sender: str | None
    replaces_from: bool
    destinations: tuple[str, ...]
    configuration_set: str | None
    tags: tuple[tuple[str, str], ...]


class Ses:
    """The sending half of the simulated SES."""

    def __init__(
        self,
        config: SandboxConfig,
        resources: Resources,
        account: AccountDesk,
        reporter: Reporter,
    ) -> None:
        self._config = config
        self._resources = resources
        self._account = account
        self._reporter = reporter

    def send(self, submission: Submission) -> str:
        """The SES message id. Returning means that the copy is committed; an AwsError, that nothing was kept."""
        self._account.require_sending()
        checks.require_size(submission.encoded_size, submission.size_limit)
        section = mime.header_section(submission.raw)
        fields = mime.headers(section)
        checks.require_header_section(section, fields)
        checks.require_lines(submission.raw)
        accepted = self._accepted(submission, fields)
        self._require_configuration_set(accepted.configuration_set)
        self._account.spend(len(accepted.recipients))
        with self._resources.database.transaction():
            self._account.require_quota(self._resources.copies.sent_last_24_hours())
            self._resources.copies.add(accepted, submission.raw)
            self._reporter.report(accepted, submission.raw)
        return accepted.message_id

    def _accepted(self, submission: Submission, given: list[Header]) -> Accepted:
        replaced = submission.replaces_from and submission.sender is not None
        fields = mime.with_from(given, submission.sender or "") if replaced else given
        recipients = submission.destinations or tuple(mime.mailboxes(fields, "To", "Cc", "Bcc"))
        source = submission.sender or mime.first(fields, "From") or ""
        identity, default_set = self._speaking(submission.sender, fields, recipients)
        checks.require_recipients(recipients)
        return Accepted(
            message_id=new_message_id(),
            accepted_at=times.now(),
            account_id=self._config.account_id,
            region=self._config.region,
            source=source,
            identity=identity,
            source_ip=_SOURCE_IP,
            operation=submission.operation,
            recipients=recipients,
            fields=tuple(fields),
            configuration_set=(
                submission.configuration_set or mime.first(given, "X-SES-CONFIGURATION-SET") or default_set
            ),
            tags=_valid_tags(submission.tags or _header_tags(given)),
        )

    def _speaking(self, given: str | None, fields: list[Header], recipients: tuple[str, ...]) -> tuple[str, str | None]:
        """The identity that sends and its default configuration set; MessageRejected if one needed is not verified."""
        authors = mime.mailboxes(fields, "From")
        checks.require_from(authors)
        sender = authors[0] if given is None else mime.mailbox(given)
        checks.require_address(sender)
        senders = [sender, *authors, *mime.mailboxes(fields, "Sender", "Return-Path")]
        self._require_verified(senders, recipients)
        found = self._resources.identities.covering(sender)
        return (found.name, found.configuration_set) if found is not None else (sender.rpartition("@")[2], None)

    def _require_verified(self, senders: list[str], recipients: tuple[str, ...]) -> None:
        """Until the first identity is made every sender is verified. Outside production, recipients must be too."""
        asked = senders if self._resources.identities.any() else []
        if not self._account.account.production_access_enabled:
            addresses = (mime.mailbox(recipient) for recipient in recipients)
            asked = [*asked, *(address for address in addresses if not simulator.is_simulated(address))]
        failed = [address for address in dict.fromkeys(asked) if not self._verified(address)]
        if failed:
            raise errors.unverified(failed, self._config.region)

    def _verified(self, address: str) -> bool:
        identity = self._resources.identities.covering(address)
        return identity is not None and identity.verified

    def _require_configuration_set(self, name: str | None) -> None:
        if name is None:
            return
        sending = self._resources.configuration_sets.options(name).get("SendingOptions", {})
        if not sending.get("SendingEnabled", True):
            raise errors.named("SendingPausedException", f"Sending paused for configuration set <{name}>.")


def new_message_id() -> str:
    """Shaped like a real one of us-east-1: a time, a UUID, and zeros."""
    return f"0100{int(time.time() * 1000):012x}-{uuid.uuid4()}-000000"


def _header_tags(fields: list[Header]) -> tuple[tuple[str, str], ...]:
    """`X-SES-MESSAGE-TAGS: a=b, c=d`, which counts only where no tags were given as a parameter."""
    pairs = (part.partition("=") for part in (mime.first(fields, "X-SES-MESSAGE-TAGS") or "").split(","))
    return tuple((name.strip(), value.strip()) for name, equals, value in pairs if equals)


def _valid_tags(tags: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """A tag with other characters does not stop the mail: it is just missing from the events."""
    return tuple(tag for tag in tags if all(_TAG.fullmatch(part) for part in tag))
