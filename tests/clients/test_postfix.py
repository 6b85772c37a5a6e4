"""Postfix as the smarthost of a machine, which hands everything on to the front."""

from __future__ import annotations

import pytest

from tests.clients.front import HOST, PLAIN, SENDER, SUPPRESSED, Front, Login, Stored, Way
from tests.clients.mails import ONE_SUPPRESSED, RAW, RECIPIENTS, THE_OTHERS, check_dropped, check_envelope
from tests.clients.postfix import Postfix
from tests.support.waiting import until

_TLS = """
smtp_tls_security_level = secure
smtp_tls_CAfile = {ca_file}
"""
_AUTH = """
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{{ [{host}]:{port}={name}:{secret} }}
smtp_sasl_security_options = noanonymous
"""


def relaying(front: Front, way: Way, login: Login | None = None) -> Postfix:
    port = front.port(way)
    settings = f"relayhost = [{HOST}]:{port}\n"
    if way.security != "plain":
        settings += _TLS.format(ca_file=front.ca_file)
    if way.security == "tls":
        settings += "smtp_tls_wrappermode = yes\n"
    if login := login or front.login(way):
        settings += _AUTH.format(host=HOST, port=port, name=login.name, secret=login.secret)
    return Postfix(settings, {})


def arrived(front: Front, postfix: Postfix, count: int = 1) -> list[Stored]:
    found: list[Stored] = []

    def enough() -> bool:
        found.extend(front.stored())
        return len(found) >= count

    until(enough, what=f"the mail arrives; Postfix says {postfix.log}")
    assert len(found) == count
    return found


@pytest.mark.parametrize("way", [PLAIN, Way("starttls", auth=True), Way("tls", auth=True)], ids=str)
def test_a_mail_is_handed_on_byte_for_byte(front: Front, way: Way) -> None:
    with relaying(front, way) as postfix:
        postfix.send(SENDER, RECIPIENTS, RAW)
        (stored,) = arrived(front, postfix)
        until(lambda: f"queued as {stored.ulid}" in postfix.log, what="Postfix logs the id")
    check_envelope(stored, way)
    trace, _, original = stored.content.partition(b"From: Shop")
    assert trace.startswith(b"Received: from ")
    assert b"From: Shop" + original == RAW


def test_a_refused_recipient_comes_back_to_the_sender_through_the_front_and_the_others_get_the_mail(
    front: Front,
) -> None:
    with relaying(front, PLAIN) as postfix:
        postfix.send(SENDER, ONE_SUPPRESSED, RAW)
        stored, bounce = arrived(front, postfix, 2)
    check_envelope(stored, PLAIN, THE_OTHERS)
    assert (bounce.reverse_path, bounce.recipients) == (None, (SENDER,))
    assert bounce.mail["From"] == "Mail Delivery System <MAILER-DAEMON@erp.example.org>"
    assert f"<{SUPPRESSED}>: host localhost[127.0.0.1] said: 550 5.1.1" in bounce.text


def test_with_drop_nothing_comes_back(front: Front) -> None:
    with relaying(front, Way("starttls", auth=True), front.news) as postfix:
        postfix.send(SENDER, ONE_SUPPRESSED, RAW)
        (stored,) = arrived(front, postfix)
        until(lambda: ": removed" in postfix.log, what="Postfix is done")
        assert "status=bounced" not in postfix.log
    check_dropped(stored)


def test_a_wrong_secret_makes_it_keep_the_mail(front: Front) -> None:
    with relaying(front, Way("starttls", auth=True), Login("shop", "sg_wrong")) as postfix:
        postfix.send(SENDER, RECIPIENTS, RAW)
        until(lambda: "status=deferred (SASL authentication failed" in postfix.log, what="Postfix tells the reason")
    assert front.stored() == []
