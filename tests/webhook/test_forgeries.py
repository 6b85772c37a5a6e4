"""Row 24 of the acceptance table: nothing forged is believed, and nobody is called but Amazon's host."""

from __future__ import annotations

import json

import pytest

from gateway.sns import MAX_AGE, Verifier
from gateway.sns_certificates import CertificateStore, CertificateUnavailableError
from tests.support.sns import TOPIC_ARN
from tests.support.waiting import until
from tests.webhook.amazon import HOST, Guard, certificate_host, fetch
from tests.webhook.forgeries import AMAZON, FORGERIES, MISNAMED, PAGES, STRANGER, changed, notification
from tests.webhook.queues import consuming, in_turn
from tests.webhook.support import Store
from webhook.app import create_app
from webhook.confirm import confirm_subscription
from webhook.inbox import Inbox
from webhook.queue import Pace
from webhook.sqs import SqsMessage

PACE = Pace(refused=30, first_rest=0.01, longest_rest=0.02)


@pytest.fixture(scope="module")
def port():
    with certificate_host(PAGES) as served:
        yield served


@pytest.fixture
def guard(port, monkeypatch):
    guard = Guard(port)
    guard.install(monkeypatch)
    return guard


class Gateway:
    """The real inbox with the real confirmation, and real fetches of certificates."""

    def __init__(self, *, max_age=MAX_AGE, fetch=fetch, clock=None):
        self.store = Store()
        self.confirmed = []
        certificates = CertificateStore(fetch, clock) if clock else CertificateStore(fetch)
        verifier = Verifier(lambda: frozenset({TOPIC_ARN}), certificates, max_age=max_age)
        self.inbox = Inbox(verifier, self.store, self._confirm, lambda _: None)
        self.client = create_app(inbox=self.inbox, ask_database=self.store.ask).test_client()

    def post(self, body, headers=None):
        return self.client.post("/sns", data=body, headers=headers or {})

    def _confirm(self, message):
        self.confirmed.append(message)
        confirm_subscription(message)


class Source:
    """A queue with these messages in it."""

    def __init__(self, bodies):
        messages = [
            SqsMessage(str(number), str(number), body.decode(errors="surrogateescape"), 1)
            for number, body in enumerate(bodies)
        ]
        batches = [messages[start : start + 10] for start in range(0, len(messages), 10)]
        self.receive = in_turn(*batches)
        self.deleted, self.hidden = [], {}

    def delete(self, messages):
        self.deleted += messages

    def hide(self, messages):
        self.hidden |= {message.id: seconds for message, seconds in messages}

    def has_dead_letter_queue(self):
        return True


def assert_nobody_else_was_asked(guard):
    assert set(guard.hosts) <= {HOST}
    assert guard.elsewhere == []


def test_there_are_more_than_forty_and_no_two_alike():
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES) > 40
    assert len({(forgery.body, *forgery.headers) for forgery in FORGERIES}) == len(FORGERIES)


@pytest.mark.parametrize("version", ["1", "2"])
def test_what_the_forgeries_are_made_of_is_believed(guard, version):
    gateway = Gateway()
    body = notification(version=version)
    assert gateway.post(body, AMAZON.headers(body)).json == {"status": "stored"}
    assert len(gateway.store.stored) == 1
    assert guard.hosts == [HOST]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_the_webhook_believes_none_and_calls_nobody_else(guard, forgery):
    gateway = Gateway()
    response = gateway.post(forgery.body, forgery.headers)
    assert response.status_code in {403, 503}
    assert response.json["status"] in {"refused", "later"}
    assert (gateway.store.stored, gateway.confirmed) == ([], [])
    assert_nobody_else_was_asked(guard)


# What has failed a moment ago is not fetched again, so those whose certificate is fetched have a consumer of their own.
_FETCHING = [forgery for forgery in FORGERIES if forgery.in_queue and forgery.name.startswith("certificate")]
_OTHERS = [forgery for forgery in FORGERIES if forgery.in_queue and forgery not in _FETCHING]


@pytest.mark.parametrize("forgeries", [_FETCHING, _OTHERS], ids=["certificates", "others"])
def test_the_queue_believes_none_and_calls_nobody_else(guard, forgeries):
    gateway = Gateway(max_age=None)
    genuine = notification()
    source = Source([*(forgery.body for forgery in forgeries), genuine])
    with consuming(source, gateway.inbox, pace=PACE):
        until(lambda: len(source.hidden) + len(source.deleted) == len(forgeries) + 1, what="all of them")
    believed = {message.id for message in source.deleted}
    assert [forgery.name for number, forgery in enumerate(forgeries) if str(number) in believed] == []
    assert gateway.confirmed == []
    assert {stored.sns_message_id for stored in gateway.store.stored} <= {json.loads(genuine)["MessageId"]}
    assert_nobody_else_was_asked(guard)


@pytest.mark.parametrize("host", ["169.254.169.254/latest/meta-data/", "127.0.0.1:8025/metrics", "evil.example/"])
def test_a_subscribe_url_is_visited_by_nobody_even_if_it_is_signed(guard, monkeypatch, host):
    """The confirmation is a call to the SNS of the topic's own region."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    gateway = Gateway()
    response = gateway.post(AMAZON.subscription_confirmation(SubscribeURL=f"http://{host}"))
    assert response.status_code == 503  # nobody there has a certificate that boto3 believes
    assert len(gateway.confirmed) == 1
    assert_nobody_else_was_asked(guard)


def test_a_thousand_made_up_certificates_cost_at_most_six_fetches_a_minute_and_keep_no_genuine_one_out():
    now, asked = [0.0], []

    def count(url):
        asked.append(now[0])
        if url == AMAZON.signing_cert_url:
            return AMAZON.certificate_pem
        if len(asked) % 2:
            raise CertificateUnavailableError("its server answered 404")
        return MISNAMED.certificate_pem  # a fetch that succeeds counts like one that fails

    gateway = Gateway(fetch=count, clock=lambda: now[0])
    assert gateway.post(notification()).status_code == 200
    now[0] += 24 * 3600 + 1
    forged = notification(STRANGER)
    for number in range(1000):
        url = f"https://{HOST}/SimpleNotificationService-{number:032x}.pem"
        assert gateway.post(changed(forged, SigningCertURL=url)).status_code in {403, 503}
        now[0] += 0.05
    assert gateway.post(notification()).status_code == 200
    flood = asked[1:]
    assert len(flood) <= 6
    assert len(gateway.store.stored) == 2
