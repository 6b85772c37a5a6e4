from __future__ import annotations

import logging
import smtplib
from base64 import b64encode
from ipaddress import ip_network

import pytest

from gateway.smtp import auth, replies
from gateway.smtp.limits import Limits
from tests.gateway.smtp.admitting import (
    LOOPBACK,
    OTHER_SECRET,
    SECRET,
    CredentialDouble,
    authenticated,
    base64,
    credential,
    from_afar,
    local,
    plain,
    secret,
)
from tests.gateway.smtp.running import HOST, MESSAGE, RunningFront, running_front

ASK_USER = "334 VXNlcm5hbWU6"
ASK_PASSWORD = "334 UGFzc3dvcmQ6"


@pytest.fixture
def credentials():
    return CredentialDouble(credential(), credential("off", enabled=False), local(networks=()))


@pytest.fixture
def front(tmp_path, credentials):
    with running_front(tmp_path, credentials=credentials) as running:
        yield running


@pytest.fixture
def client(front):
    with front.connect() as client:
        assert client.say(b"EHLO c").startswith("250-")
        yield client


class TestMechanisms:
    def test_both_are_offered_on_this_machine(self, front):
        with front.connect() as client:
            assert "\n250-AUTH PLAIN LOGIN\n" in client.say(b"EHLO c")

    @pytest.mark.parametrize("mechanism", [b"PLAIN", b"plain", b"Plain"])
    def test_plain_with_an_initial_response(self, client, mechanism):
        assert client.say(b"AUTH " + mechanism + b" " + plain()) == replies.AUTHENTICATED

    def test_plain_without_an_initial_response(self, client):
        assert client.say(b"AUTH PLAIN") == "334 "
        assert client.say(plain()) == replies.AUTHENTICATED

    @pytest.mark.parametrize("mechanism", [b"LOGIN", b"login"])
    def test_login(self, client, mechanism):
        assert client.say(b"AUTH " + mechanism) == ASK_USER
        assert client.say(base64("shop")) == ASK_PASSWORD
        assert client.say(base64(SECRET)) == replies.AUTHENTICATED

    def test_login_with_the_user_name_as_initial_response(self, client):
        assert client.say(b"AUTH LOGIN " + base64("shop")) == ASK_PASSWORD
        assert client.say(base64(SECRET)) == replies.AUTHENTICATED

    def test_one_may_act_for_oneself(self, client):
        assert client.say(b"AUTH PLAIN " + plain(act_for="shop")) == replies.AUTHENTICATED

    def test_nobody_may_act_for_another(self, client):
        assert client.say(b"AUTH PLAIN " + plain(act_for="erp")) == replies.AUTH_FOR_ANOTHER

    @pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
    def test_smtplib_sends_after_either(self, front, method):
        with smtplib.SMTP(HOST, front.port) as smtp:
            smtp.ehlo()
            smtp.user, smtp.password = "shop", SECRET
            smtp.auth(method.removeprefix("auth_").upper(), getattr(smtp, method))
            assert smtp.sendmail("a@example.org", ["b@example.net"], MESSAGE) == {}
        origin = front.messages.envelopes[0].origin
        assert (origin.credential, origin.protocol) == ("shop", "ESMTPA")


class TestRefusals:
    @pytest.mark.parametrize(
        ("argument", "reply"),
        [
            (b"", replies.AUTH_SYNTAX),
            (b" PLAIN a b", replies.AUTH_SYNTAX),
            (b" CRAM-MD5", replies.AUTH_MECHANISM),
            (b" XOAUTH2 dXNlcg==", replies.AUTH_MECHANISM),
            (b" PLAIN =", replies.AUTH_UNREADABLE),
            (b" PLAIN *", replies.AUTH_CANCELLED),
            (b" PLAIN !!!", replies.AUTH_UNREADABLE),
            (b" PLAIN c2hvcA", replies.AUTH_UNREADABLE),
            (b" PLAIN c2hvcA==", replies.AUTH_UNREADABLE),
            (b" LOGIN %%%", replies.AUTH_UNREADABLE),
        ],
    )
    def test_what_is_no_auth_command(self, client, argument, reply):
        assert client.say(b"AUTH" + argument) == reply
        assert client.say(b"NOOP") == replies.OK

    @pytest.mark.parametrize("answers", [(b"*",), (base64("shop"), b"*")])
    def test_a_client_can_call_off(self, client, answers):
        client.say(b"AUTH LOGIN")
        assert [client.say(answer) for answer in answers][-1] == replies.AUTH_CANCELLED

    def test_an_empty_initial_response_is_an_empty_name(self, client):
        assert client.say(b"AUTH LOGIN =") == ASK_PASSWORD
        assert client.say(base64(SECRET)) == replies.AUTH_REFUSED

    def test_an_endless_response_is_refused_and_the_session_goes_on(self, client):
        client.say(b"AUTH PLAIN")
        assert client.say(b"A" * 13_000) == replies.AUTH_TOO_LONG
        assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTHENTICATED

    def test_a_response_must_end_as_a_command_does(self, client):
        client.say(b"AUTH PLAIN")
        client.send(plain() + b"\n")
        assert client.reply() == replies.COMMAND_WITHOUT_CRLF

    @pytest.mark.parametrize(
        ("name", "password"),
        [
            ("shop", "wrong"),
            ("shop", ""),
            ("off", SECRET),
            ("unknown", SECRET),
            ("", ""),
            ("local", ""),
            ("SHOP", SECRET),
        ],
    )
    def test_nobody_learns_what_was_wrong(self, client, name, password):
        assert client.say(b"AUTH PLAIN " + plain(name, password)) == replies.AUTH_REFUSED

    def test_octets_of_no_character_set_are_a_wrong_secret(self, client):
        assert client.say(b"AUTH PLAIN " + b64encode(b"\0shop\0\xff\xfe")) == replies.AUTH_REFUSED

    def test_once_is_enough(self, front):
        with authenticated(front) as client:
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTH_AGAIN
            assert "AUTH" not in client.say(b"EHLO c")

    def test_not_amid_a_transaction(self, tmp_path):
        credentials = CredentialDouble(credential(), local())
        with running_front(tmp_path, credentials=credentials) as front, front.connect() as client:
            client.say(b"EHLO c")
            client.say(b"MAIL FROM:<a@example.org>")
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTH_IN_TRANSACTION
            assert client.say(b"RSET") == replies.OK
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTHENTICATED

    def test_not_before_the_greeting(self, front):
        with front.connect() as client:
            assert client.say(b"AUTH PLAIN " + plain()) == replies.HELO_FIRST

    def test_a_client_that_leaves_amid_the_dialogue_leaves_nothing(self, front):
        with front.connect() as client:
            client.say(b"EHLO c")
            client.say(b"AUTH LOGIN")
        with authenticated(front) as client:
            assert client.say(b"NOOP") == replies.OK

    def test_five_failures_end_a_session(self, client):
        for _ in range(5):
            assert client.say(b"AUTH PLAIN " + plain(password="wrong")) == replies.AUTH_REFUSED
        client.send(b"AUTH PLAIN " + plain() + b"\r\n")
        assert client.replies() == [replies.TOO_MANY_FAILED_AUTHS]

    def test_secrets_never_reach_the_log(self, client, caplog, capsys):
        caplog.set_level(logging.DEBUG)
        for given in (plain(password="hush-1"), plain("hush-2", "hush-3")):
            client.say(b"AUTH PLAIN " + given)
        client.say(b"AUTH LOGIN " + base64("hush-4"))
        client.say(base64("hush-5"))
        client.say(b"AUTH PLAIN hush-6")
        logged = caplog.text + "".join(capsys.readouterr())
        assert "auth.failed" in logged
        assert "hush" not in logged
        assert plain(password="hush-1").decode() not in logged


class TestSecrets:
    def test_the_use_of_a_secret_is_noted(self, front, credentials):
        authenticated(front).close()
        assert credentials.used_secrets == [1]

    @pytest.mark.parametrize("password", [SECRET, OTHER_SECRET])
    def test_either_of_two_live_secrets_will_do(self, tmp_path, password):
        both = credential(secrets=(secret(), secret(OTHER_SECRET, 2)))
        with running_front(tmp_path, credentials=CredentialDouble(both)) as front:
            authenticated(front, password=password).close()


class TestFromElsewhere:
    """A client that a proxy says is not on this machine."""

    @pytest.fixture
    def front(self, tmp_path, credentials):
        with running_front(tmp_path, credentials=credentials, proxy_networks=LOOPBACK) as running:
            yield running

    def test_a_secret_is_not_taken_in_the_clear(self, front):
        with from_afar(front) as client:
            assert "AUTH" not in client.say(b"EHLO c")
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTH_IN_CLEAR
            assert client.say(b"AUTH LOGIN") == replies.AUTH_IN_CLEAR

    def test_each_failure_slows_the_next_try_of_that_client(self, front, monkeypatch):
        waited = waits(monkeypatch)
        monkeypatch.setattr(auth, "is_offered", lambda _session: True)
        for _ in range(2):
            with from_afar(front) as client:
                client.say(b"EHLO c")
                for _ in range(4):
                    client.say(b"AUTH PLAIN " + plain("unknown", "wrong"))
        assert waited == [0, 0.5, 1, 2, 4, 5, 5, 5]

    def test_tries_of_one_name_are_slowed_from_wherever_they_come(self, front, monkeypatch):
        waited = waits(monkeypatch)
        monkeypatch.setattr(auth, "is_offered", lambda _session: True)
        for number in range(3):
            with from_afar(front, f"192.0.2.{number}") as client:
                client.say(b"EHLO c")
                client.say(b"AUTH PLAIN " + plain("shop", "wrong"))
        with greeted(front, "192.0.2.9") as client:
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTHENTICATED
        with greeted(front, "192.0.2.9") as client:
            client.say(b"AUTH PLAIN " + plain())
        assert waited == [0, 0.5, 1, 2, 0]


def greeted(front: RunningFront, address: str):
    client = from_afar(front, address)
    client.say(b"EHLO c")
    return client


def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the front would have waited; it does not."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(auth, "_wait", sleep)
    return waited


def test_nobody_waits_on_this_machine(tmp_path, monkeypatch):
    waited = waits(monkeypatch)
    with running_front(tmp_path, credentials=CredentialDouble(credential())) as front, front.connect() as client:
        client.say(b"EHLO c")
        for _ in range(5):
            client.say(b"AUTH PLAIN " + plain(password="wrong"))
    assert set(waited) == {0}


def test_a_claim_does_not_show_its_password():
    assert "hush" not in repr(auth.Claim("shop", "hush"))


def test_an_authenticated_session_has_a_place_among_those_that_may_send(tmp_path):
    limits = Limits(connections=2, strangers=1, strangers_per_client=1)
    with running_front(tmp_path, credentials=CredentialDouble(credential()), limits=limits) as front:
        first, second = authenticated(front), authenticated(front)
        for client in (first, second):
            assert client.mail(MESSAGE).startswith("250 ")
            client.close()


class TestOverTls:
    @pytest.fixture
    def front(self, tmp_path, credentials):
        credentials.credentials = (
            *credentials.credentials[:2],
            local(networks=(*LOOPBACK, ip_network("192.0.2.0/24"))),
        )
        settings = {"proxy_networks": LOOPBACK, "profiles": ("lan", "modern")}
        with running_front(tmp_path, credentials=credentials, **settings) as running:
            yield running

    def test_a_client_from_elsewhere_may_authenticate(self, front):
        with from_afar(front) as client:
            client.say(b"EHLO c")
            client.start_tls()
            assert "\n250-AUTH PLAIN LOGIN\n" in client.say(b"EHLO c")
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTHENTICATED
            assert client.mail(MESSAGE).startswith("250 ")
        origin = front.messages.envelopes[0].origin
        assert (origin.credential, origin.protocol, origin.client_address) == ("shop", "ESMTPSA", "192.0.2.7")

    def test_a_network_is_no_credential_where_auth_is_required(self, front):
        with from_afar(front, port=front.ports[1]) as client:
            client.say(b"EHLO c")
            client.start_tls()
            client.say(b"EHLO c")
            assert client.say(b"MAIL FROM:<a@example.org>") == replies.AUTH_REQUIRED
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTHENTICATED
            assert client.mail(MESSAGE).startswith("250 ")

    def test_what_was_said_in_the_clear_is_forgotten(self, front):
        """RFC 3207 section 4.2; a proxy in between may have said it."""
        with from_afar(front, "127.0.0.1") as client:
            client.say(b"EHLO c")
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTHENTICATED
            client.start_tls()
            assert "\n250-AUTH PLAIN LOGIN\n" in client.say(b"EHLO c")
