"""Python's smtplib."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.clients.front import EVERY_WAY, HOST, PLAIN, SENDER, SUPPRESSED, WITH_AUTH, Front, Login, Way
from tests.clients.mails import ONE_SUPPRESSED, RAW, RECIPIENTS, THE_OTHERS, check_dropped, check_envelope


@contextmanager
def connected(front: Front, way: Way, login: Login | None = None) -> Iterator[smtplib.SMTP]:
    trust = ssl.create_default_context(cafile=front.ca_file)
    port = front.port(way)
    with smtplib.SMTP_SSL(HOST, port, context=trust) if way.security == "tls" else smtplib.SMTP(HOST, port) as client:
        if way.security == "starttls":
            client.starttls(context=trust)
        if login := login or front.login(way):
            client.login(login.name, login.secret)
        yield client


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_is_kept_byte_for_byte(front: Front, way: Way) -> None:
    with connected(front, way) as client:
        assert client.sendmail(SENDER, RECIPIENTS, RAW, ["BODY=8BITMIME"]) == {}
    stored = front.stored_one()
    check_envelope(stored, way)
    assert stored.content == RAW


def test_several_mails_go_over_one_connection(front: Front) -> None:
    with connected(front, WITH_AUTH) as client:
        for recipient in RECIPIENTS:
            client.sendmail(SENDER, recipient, RAW)
    assert [stored.recipients for stored in front.stored()] == [(recipient,) for recipient in RECIPIENTS]


def test_a_refused_recipient_is_returned_and_the_others_get_the_mail(front: Front) -> None:
    with connected(front, PLAIN) as client:
        refused = client.sendmail(SENDER, ONE_SUPPRESSED, RAW)
    assert {address: code for address, (code, _) in refused.items()} == {SUPPRESSED: 550}
    check_envelope(front.stored_one(), PLAIN, THE_OTHERS)


def test_it_raises_when_every_recipient_is_refused(front: Front) -> None:
    with connected(front, PLAIN) as client, pytest.raises(smtplib.SMTPRecipientsRefused, match=r"suppressed \(bounce"):
        client.sendmail(SENDER, SUPPRESSED, RAW)
    assert front.stored() == []


def test_with_drop_nothing_is_refused(front: Front) -> None:
    with connected(front, WITH_AUTH, front.news) as client:
        assert client.sendmail(SENDER, ONE_SUPPRESSED, RAW) == {}
    check_dropped(front.stored_one())


def test_a_wrong_secret_raises(front: Front) -> None:
    with (
        pytest.raises(smtplib.SMTPAuthenticationError) as refusal,
        connected(front, WITH_AUTH, Login("shop", "sg_wrong")),
    ):
        pass
    assert refusal.value.smtp_code == 535
