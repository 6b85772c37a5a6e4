"""What a credential allows, as its client reads it in the replies."""

from __future__ import annotations

import smtplib
from datetime import UTC, datetime

import pytest

from gateway.credentials import Caps
from gateway.smtp import replies
from gateway.store.errors import NotEnabledError, OverCapError
from gateway.suppression_policy import Reason
from tests.gateway.smtp.admitting import SECRET, CredentialDouble, authenticated, credential, local
from tests.gateway.smtp.running import HOST, MESSAGE, Suppressed, running_front


@pytest.fixture
def door(tmp_path):
    """A front at which the credential `shop` has these terms, and a client that authenticated with it."""
    opened = []

    def open_door(**terms):
        running = running_front(tmp_path, credentials=CredentialDouble(credential(**terms)))
        front = running.__enter__()
        client = authenticated(front)
        opened.append((running, client))
        return front, client

    yield open_door
    for running, client in opened:
        client.close()
        running.__exit__(None, None, None)


def mail_from(author: bytes) -> bytes:
    return MESSAGE.replace(b"From: shop@example.org\r\n", b"From: " + author + b"\r\n")


class TestSenders:
    RULES = ("shop@example.org", "example.com", ".example.net")

    def test_an_envelope_sender_of_somebody_else_is_refused_by_name(self, door):
        _, client = door(senders=self.RULES)
        assert client.say(b"MAIL FROM:<boss@example.org>") == (
            "550 5.7.1 shop may not send with <boss@example.org> as the envelope sender;"
            " it may use <shop@example.org> or any address of example.com or any address below example.net"
        )

    @pytest.mark.parametrize(
        "path", [b"shop@example.org", b"Shop@EXAMPLE.org", b"a@example.com", b"a@example.net", b"a@x.example.net", b""]
    )
    def test_its_own_and_the_null_reverse_path_are_taken(self, door, path):
        _, client = door(senders=self.RULES)
        assert client.say(b"MAIL FROM:<" + path + b">") == replies.SENDER_OK

    @pytest.mark.parametrize(
        "author",
        [
            b"boss@example.org",
            b"The shop <boss@example.org>",
            b"shop@example.org, boss@example.org",
            b"=?utf-8?q?shop=40example=2Eorg?= <boss@example.org>",
            b'"shop@example.org" <boss@example.org>',
            b"a group: shop@example.org, boss@example.org;",
            b"shop@example.org,\r\n\tboss@example.org",
        ],
    )
    def test_a_header_from_of_somebody_else_is_refused_by_name(self, door, author):
        front, client = door(senders=self.RULES)
        assert client.mail(mail_from(author)) == (
            "550 5.7.1 shop may not send with <boss@example.org> in the From header;"
            " it may use <shop@example.org> or any address of example.com or any address below example.net"
        )
        assert front.messages.stored == []

    @pytest.mark.parametrize(
        "author",
        [
            b"root",
            b'"unbalanced <shop@example.org>',
            b"undisclosed:;",
            b"<boss@victim.test> <shop@example.org>",
            b"boss@victim.test\r\n shop@example.org",
            b"boss@victim.test: shop@example.org;",
        ],
    )
    def test_a_from_that_cannot_be_read_is_refused_where_it_matters(self, door, author):
        _, client = door(senders=("example.org",))
        assert client.mail(mail_from(author)) == (
            "550 5.7.1 shop may not send without a readable address in the From header;"
            " it may use any address of example.org"
        )

    def test_several_authors_that_are_all_its_own_are_taken(self, door):
        _, client = door(senders=self.RULES)
        assert client.mail(mail_from(b"Shop <shop@example.org>, a@example.com")).startswith("250 ")

    @pytest.mark.parametrize("author", ["Größe <a@bücher.example>", "a@bücher.example", "a@xn--bcher-kva.example"])
    def test_a_domain_beyond_ascii_is_its_own_in_both_spellings(self, door, author):
        _, client = door(senders=("example.org", "xn--bcher-kva.example"))
        assert client.mail(mail_from(author.encode())).startswith("250 ")

    def test_raw_bytes_beside_an_address_do_not_hide_another(self, door):
        _, client = door(senders=self.RULES)
        reply = client.mail(mail_from("boss@victim.test größe@example.com".encode()))
        assert reply.startswith("550 5.7.1 shop may not send with")

    def test_two_from_fields_are_not_one_readable_author(self, door):
        _, client = door(senders=("example.org",))
        two = mail_from(b"boss@victim.test:;\r\nFrom: shop@example.org")
        assert client.mail(two).startswith("550 ")

    def test_without_rules_every_sender_is_taken(self, door):
        _, client = door()
        assert client.mail(mail_from(b"anybody@example.net")).startswith("250 ")

    def test_a_long_list_of_rules_is_cut(self, door):
        _, client = door(senders=tuple(f"a{number}.example.org" for number in range(50)))
        reply = client.say(b"MAIL FROM:<x@y.test>")
        assert reply.endswith("any address of a4.example.org among others")
        assert len(reply) < 510


class TestSize:
    def test_ehlo_tells_the_smaller_limit(self, door):
        _, client = door(max_message_bytes=1000)
        assert "\n250-SIZE 1000\n" in client.say(b"EHLO c")

    def test_the_declared_size_is_refused_early(self, door):
        _, client = door(max_message_bytes=1000)
        reply = "552 5.3.4 shop may send messages of 1000 octets at most"
        assert client.say(b"MAIL FROM:<a@b.test> SIZE=1001") == reply
        assert client.say(b"MAIL FROM:<a@b.test> SIZE=1000") == replies.SENDER_OK

    def test_the_real_size_is_what_counts(self, door):
        _, client = door(max_message_bytes=1000)
        reply = "552 5.3.4 shop may send messages of 1000 octets at most"
        assert client.mail(MESSAGE + b"x" * 70 + b"\r\n").startswith("250 ")
        assert client.mail(MESSAGE + (b"x" * 70 + b"\r\n") * 20) == reply

    def test_the_setting_counts_where_it_is_the_smaller(self, tmp_path):
        source = CredentialDouble(credential(max_message_bytes=10**6))
        settings = {"credentials": source, "max_message_bytes": 500}
        with running_front(tmp_path, **settings) as front, authenticated(front) as client:
            assert "\n250-SIZE 500\n" in client.say(b"EHLO c")
            assert client.say(b"MAIL FROM:<a@b.test> SIZE=501") == replies.TOO_LARGE


class TestCaps:
    def test_the_store_is_told_the_caps(self, door):
        front, client = door(per_minute=10, per_day=100)
        client.mail(MESSAGE)
        assert front.messages.caps == [Caps(10, 100)]

    def test_without_caps_nothing_is_counted(self, door):
        front, client = door()
        client.mail(MESSAGE)
        assert front.messages.caps == [None]

    def test_over_a_cap_the_mail_is_for_later(self, door):
        front, client = door(per_minute=10)
        free_at = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
        front.messages.error = OverCapError("shop", "minute", 10, free_at)
        assert client.mail(MESSAGE) == (
            "451 4.7.1 shop may send to 10 recipients a minute; try again after 03:04:05 UTC"
        )
        front.messages.error = None
        assert client.mail(MESSAGE).startswith("250 ")

    def test_what_can_never_go_is_not_for_later(self, door):
        front, client = door(per_minute=10)
        front.messages.error = OverCapError("shop", "minute", 1, None)
        assert client.mail(MESSAGE) == "550 5.7.1 shop may send to 1 recipients a minute, and this message has more"

    def test_more_recipients_than_a_cap_go_in_the_next_transaction(self, door):
        _, client = door(per_minute=2, per_day=100)
        client.say(b"MAIL FROM:<a@b.test>")
        said = [client.say(b"RCPT TO:<r%d@example.net>" % number) for number in range(3)]
        assert said[:2] == [replies.RECIPIENT_OK] * 2
        assert said[2] == "452 4.5.3 shop may send to 2 recipients at once; send the rest in another transaction"

    def test_a_credential_that_was_just_disabled_is_told_so(self, door):
        front, client = door()
        front.messages.error = NotEnabledError("The credential 'shop' is disabled.")
        assert client.mail(MESSAGE) == "550 5.7.1 The credential shop has been switched off"


class TestSuppressedRecipients:
    @pytest.mark.parametrize(
        ("own", "setting", "code"),
        [
            (None, "reject", "550"),
            (None, "drop", "250"),
            ("drop", "reject", "250"),
            ("reject", "drop", "550"),
        ],
    )
    def test_the_credential_says_what_becomes_of_them(self, tmp_path, own, setting, code):
        source = CredentialDouble(credential(suppressed_recipients=own))
        with running_front(tmp_path, credentials=source, suppressed_recipients=setting) as front:
            front.suppressions.by_key["dead@example.net"] = Suppressed(Reason.BOUNCE)
            with authenticated(front) as client:
                client.say(b"MAIL FROM:<a@b.test>")
                assert client.say(b"RCPT TO:<dead@example.net>")[:3] == code


class TestOrigin:
    def test_a_message_is_stored_under_the_credential_it_was_admitted_under(self, tmp_path):
        source = CredentialDouble(credential(), local())
        with running_front(tmp_path, credentials=source) as front:
            with smtplib.SMTP(HOST, front.port) as smtp:
                smtp.sendmail("a@example.org", ["b@example.net"], MESSAGE)
                smtp.login("shop", SECRET)
                smtp.sendmail("a@example.org", ["b@example.net"], MESSAGE)
            origins = [(one.origin.credential, one.origin.protocol) for one in front.messages.envelopes]
        assert origins == [("local", "ESMTP"), ("shop", "ESMTPA")]
        assert (source.used_names, source.used_secrets) == (["local"], [1])
