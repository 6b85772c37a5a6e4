"""The identities of the simulated SES, and where each sends its notifications."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.sandbox.addresses import folded
from gateway.sandbox.database import Database
from gateway.sandbox.errors import already_exists, bad_request

PENDING_PREFIX: Final = "unverified"
"""An identity whose name starts with this stays unverified, so that set-up can be tested against one."""

_FORWARDED: Final = ("Bounce", "Complaint")
"""Of these somebody has to hear: by a topic each, or by mail."""


@dataclass(frozen=True)
class Identity:
    """An address or a domain. The sandbox verifies both at once, for it has neither DNS nor a mailbox to ask.

    `topics` by type of notification; `with_headers`: the types that bring the mail's headers; `forwards`: bounces and
    complaints come by mail; `signs`: with DKIM, as only domains can here; `mail_from`: MailFromDomain and
    BehaviorOnMxFailure.
    """

    name: str
    configuration_set: str | None = None
    topics: Mapping[str, str] = field(default_factory=dict)
    with_headers: frozenset[str] = frozenset()
    forwards: bool = True
    signs: bool = True
    mail_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_domain(self) -> bool:
        return "@" not in self.name

    @property
    def verified(self) -> bool:
        return not self.name.startswith(PENDING_PREFIX)

    def with_topic(self, kind: str, topic_arn: str | None) -> Identity:
        """BadRequestException where nobody would hear of bounces: AWS does not say what it does then, so this refuses.

        Who switches forwarding on first is right in either case.
        """
        topics = {name: arn for name, arn in self.topics.items() if name != kind}
        if topic_arn is not None:
            topics[kind] = topic_arn
        elif kind in _FORWARDED and not self.forwards:
            raise bad_request(f"Enable feedback forwarding for <{self.name}> before its {kind} topic is cleared.")
        return replace(self, topics=topics)

    def with_forwarding(self, *, enabled: bool) -> Identity:
        """BadRequestException for switching it off without a topic for bounces and one for complaints."""
        if not enabled and not set(_FORWARDED) <= set(self.topics):
            raise bad_request(
                f"Feedback forwarding of <{self.name}> can be disabled only while it has topics for both bounce and "
                "complaint notifications."
            )
        return replace(self, forwards=enabled)

    def without_dead_topic(self, kind: str) -> Identity:
        """After a topic could not be published to: SES goes over to mail. The setting for deliveries stays."""
        if kind not in _FORWARDED:
            return self
        kept = {name: arn for name, arn in self.topics.items() if name != kind}
        return replace(self, topics=kept, forwards=True)


class Identities:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, configuration_set: str | None) -> Identity:
        made = Identity(folded(name), configuration_set)
        if self.get(name) is not None:
            raise already_exists(f"Email identity {name} already exist.")
        self.put(made)
        return made

    def put(self, identity: Identity) -> None:
        options = {
            "configuration_set": identity.configuration_set,
            "topics": dict(identity.topics),
            "with_headers": sorted(identity.with_headers),
            "forwards": identity.forwards,
            "signs": identity.signs,
            "mail_from": dict(identity.mail_from),
        }
        self._database.execute(
            "REPLACE INTO identities (name, options) VALUES (?, ?)", identity.name, json.dumps(options)
        )

    def get(self, name: str) -> Identity | None:
        row = self._database.one("SELECT name, options FROM identities WHERE name = ?", folded(name))
        return None if row is None else _identity(row)

    def all(self) -> list[Identity]:
        return [_identity(row) for row in self._database.all("SELECT name, options FROM identities ORDER BY name")]

    def delete(self, name: str) -> bool:
        return bool(self._database.execute("DELETE FROM identities WHERE name = ?", folded(name)))

    def any(self) -> bool:
        return self._database.one("SELECT 1 FROM identities LIMIT 1") is not None

    def covering(self, mailbox: str) -> Identity | None:
        """The identity that speaks for this address: itself before its domain before a parent domain.

        An address that is verified speaks with any `+label`, too.
        """
        local, at, domain = mailbox.rpartition("@")
        labels = domain.split(".")
        candidates = [
            mailbox,
            f"{local.partition('+')[0]}{at}{domain}",
            *(".".join(labels[start:]) for start in range(len(labels))),
        ]
        return next((found for name in candidates if (found := self.get(name)) is not None), None)


def _identity(row: Any) -> Identity:
    options = json.loads(row["options"])
    return Identity(
        row["name"],
        options["configuration_set"],
        options.get("topics", {}),
        frozenset(options.get("with_headers", ())),
        options.get("forwards", True),
        options.get("signs", True),
        options.get("mail_from", {}),
    )
