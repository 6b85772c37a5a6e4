"""The webhook put together around doubles of what stands behind it, for real envelopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask.testing import FlaskClient

from gateway.sns import SubscriptionConfirmation, Verifier
from gateway.store.errors import StoreError
from gateway.store.notifications import NewNotification
from tests.support.sns import TOPIC_ARN, Signer
from webhook.app import create_app
from webhook.confirm import ConfirmError
from webhook.inbox import Inbox, log_taken

SIGNER = Signer.make()


@dataclass
class Store:
    """Notifications in a list, and a database that can be away."""

    stored: list[NewNotification] = field(default_factory=list)
    error: StoreError | None = None

    def store_all(self, notifications: Sequence[NewNotification]) -> list[int | StoreError | None]:
        return [self._store(notification) for notification in notifications]

    def _store(self, notification: NewNotification) -> int | StoreError | None:
        if self.error is not None:
            return self.error
        if any(known.sns_message_id == notification.sns_message_id for known in self.stored):
            return None
        self.stored.append(notification)
        return len(self.stored)

    def ask(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class Webhook:
    """The application, and what it did."""

    store: Store = field(default_factory=Store)
    fetched: list[str] = field(default_factory=list)
    confirmed: list[SubscriptionConfirmation] = field(default_factory=list)
    hinted: list[int] = field(default_factory=list)
    confirm_error: ConfirmError | None = None
    hint_error: Exception | None = None
    hear: Callable[..., None] = lambda *_seen: None
    tell: Callable[..., None] = lambda fields: log_taken((fields,))

    def __post_init__(self) -> None:
        verifier = Verifier(lambda: frozenset({TOPIC_ARN}), self._certificate)
        inbox = Inbox(verifier, self.store, self._confirm, self._hint, self.hear, self.tell)
        self.app = create_app(inbox=inbox, ask_database=self.store.ask)

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> Any:
        given = {"Content-Type": "text/plain; charset=UTF-8"} if headers is None else headers
        return self.client.post("/sns", data=body, headers=given)

    def _certificate(self, url: str) -> bytes:
        self.fetched.append(url)
        return SIGNER.certificate_pem

    def _confirm(self, message: SubscriptionConfirmation) -> None:
        if self.confirm_error is not None:
            raise self.confirm_error
        self.confirmed.append(message)

    def _hint(self, notification_id: int) -> None:
        if self.hint_error is not None:
            raise self.hint_error
        self.hinted.append(notification_id)
