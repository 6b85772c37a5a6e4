from __future__ import annotations

import smtplib
import socket
from datetime import timedelta
from ipaddress import ip_network

import pytest

from gateway.addresses import Mailbox
from gateway.settings import Settings
from gateway.smtp import replies
from gateway.smtp.server import _where_mail_is_kept
from gateway.store.errors import NoSpaceError, OutcomeUnknownError, StoreUnavailableError
from gateway.suppression_policy import Reason
from tests.gateway.smtp.admitting import CredentialDouble, admitted, credential
from tests.gateway.smtp.running import HOST, MESSAGE, Client, Suppressed, running_front
from tests.support.waiting import until

LOOPBACK = (ip_network("127.0.0.0/8"),)


def codes(refused: dict[str, tuple[int, bytes]]) -> dict[str, str]:
    return {address: f"{code} {text.decode()}" for address, (code, text) in refused.items()}


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the next look at it finds it."""
    monkeypatch.setattr("gateway.smtp.disk.FreeSpace.is_fresh", True)
    monkeypatch.setattr("gateway.smtp.disk.FreeSpace.was_short", True)


class TestAccepting:
    def test_smtplib_hands_over_a_message_whole(self, front):
        with smtplib.SMTP(HOST, front.port) as smtp:
            refused = smtp.sendmail(
                "shop@example.org", ["bob@example.net", "eve@example.net"], MESSAGE, ["SIZE=100", "BODY=8BITMIME"]
            )
        assert refused == {}
        [(envelope, facts)] = front.messages.stored
        assert envelope.reverse_path == Mailbox("shop", "example.org")
        assert envelope.forward_paths == (Mailbox("bob", "example.net"), Mailbox("eve", "example.net"))
        assert envelope.content == MESSAGE
        assert (facts.subject, facts.header_from, facts.size) == ("Hello", "shop@example.org", len(MESSAGE))
        assert (envelope.origin.credential, envelope.origin.client_address) == ("local", HOST)
        assert (envelope.origin.protocol, envelope.origin.helo) == ("ESMTP", smtp.local_hostname)

    def test_reply_names_the_stored_id(self, client):
        assert client.mail(MESSAGE) == "250 2.0.0 OK: queued as 01JD6Z3Q9Y8N5V2K7M4T1R0001"

    def test_helo_is_plain_smtp(self, front, client):
        client.say(b"HELO printer")
        client.say(b"MAIL FROM:<scan@example.org>")
        client.say(b"RCPT TO:<bob@example.net>")
        client.say(b"DATA")
        assert client.say(MESSAGE + b".").startswith("250 ")
        origin = front.messages.envelopes[0].origin
        assert (origin.protocol, origin.helo) == ("SMTP", "printer")

    def test_null_reverse_path_is_none(self, front, client):
        client.say(b"EHLO c")
        assert client.say(b"MAIL FROM:<>") == replies.SENDER_OK
        client.say(b"RCPT TO:<bob@example.net>")
        client.say(b"DATA")
        client.say(MESSAGE + b".")
        assert front.messages.envelopes[0].reverse_path is None

    def test_one_forward_path_given_twice_is_one_recipient(self, front, client):
        client.mail(MESSAGE, b"bob@example.net", b"Bob@example.net", b"bob@EXAMPLE.net", b"bob@example.net")
        assert [str(path) for path in front.messages.envelopes[0].forward_paths] == [
            "bob@example.net",
            "Bob@example.net",
        ]

    def test_transactions_of_one_connection_do_not_mix(self, front, client):
        client.mail(MESSAGE, b"first@example.net")
        client.say(b"MAIL FROM:<x@example.org>")
        client.say(b"RCPT TO:<dropped@example.net>")
        assert client.say(b"RSET") == replies.OK
        client.mail(MESSAGE, b"second@example.net")
        assert [str(envelope.forward_paths[0]) for envelope in front.messages.envelopes] == [
            "first@example.net",
            "second@example.net",
        ]

    def test_pipelined_commands_are_answered_in_order(self, client):
        client.say(b"EHLO c")
        client.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<nobody>\r\nDATA\r\n")
        assert [client.reply()[:9] for _ in range(4)] == ["250 2.1.0", "250 2.1.5", "553 5.1.3", "354 End d"]
        client.send(MESSAGE + b".\r\nNOOP\r\nQUIT\r\n")
        assert [reply[:9] for reply in client.replies()] == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]

    def test_large_message_is_accepted_byte_true(self, front, client):
        body = b"".join(b"%07d %s\r\n" % (number, b"x" * 60) for number in range(40_000))
        assert client.mail(MESSAGE + body).startswith("250 ")
        assert front.messages.envelopes[0].content == MESSAGE + body


class TestRecipients:
    @pytest.mark.parametrize(
        ("reason", "code"),
        [
            (Reason.BOUNCE, "5.1.1"),
            (Reason.SOFT_BOUNCE, "5.1.1"),
            (Reason.GLOBAL_LIST, "5.1.1"),
            (Reason.COMPLAINT, "5.7.1"),
            (Reason.MANUAL, "5.7.1"),
            (Reason.UNSUBSCRIBE, "5.7.1"),
        ],
    )
    def test_suppressed_recipient_is_refused_with_reason_and_date(self, front, client, reason, code):
        front.suppressions.by_key["dead@example.net"] = Suppressed(reason)
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        reply = client.say(b"RCPT TO:<Dead@Example.NET>")
        assert reply == f"550 {code} <Dead@Example.NET>: suppressed ({reason}, 2026-11-21)"

    def test_who_is_suppressed_with_a_whole_domain_reads_so(self, front, client):
        front.suppressions.by_key["dead@example.net"] = Suppressed(Reason.MANUAL, is_domain=True)
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        assert client.say(b"RCPT TO:<dead@example.net>") == (
            "550 5.7.1 <dead@example.net>: suppressed (manual, 2026-11-21), as is all mail to its domain"
        )

    def test_other_recipients_of_the_transaction_are_served(self, front):
        front.suppressions.by_key["dead@example.net"] = Suppressed(Reason.BOUNCE)
        with smtplib.SMTP(HOST, front.port) as smtp:
            refused = smtp.sendmail("a@b.test", ["dead@example.net", "bob@example.net"], MESSAGE)
        assert list(refused) == ["dead@example.net"]
        assert [str(path) for path in front.messages.envelopes[0].forward_paths] == ["bob@example.net"]

    def test_many_suppressed_recipients_are_no_errors_of_the_client(self, front, client):
        front.suppressions.by_key = {f"d{n}@example.net": Suppressed(Reason.BOUNCE) for n in range(300)}
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        for number in range(300):
            assert client.say(b"RCPT TO:<d%d@example.net>" % number).startswith("550 5.1.1")
        assert client.say(b"RCPT TO:<bob@example.net>") == replies.RECIPIENT_OK

    @pytest.mark.parametrize("error", [StoreUnavailableError("away"), RuntimeError("password=hunter2")])
    def test_look_up_that_fails_is_not_a_pass(self, front, client, error):
        front.suppressions.error = error
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        reply = client.say(b"RCPT TO:<bob@example.net>")
        assert reply.startswith("451 4.3.0 ")
        assert "hunter2" not in reply
        assert client.say(b"DATA").startswith("503 5.5.1")

    def test_dropping_front_accepts_without_asking(self, tmp_path):
        with running_front(tmp_path, suppressed_recipients="drop") as front, front.connect() as client:
            front.suppressions.error = StoreUnavailableError("away")
            assert client.mail(MESSAGE).startswith("250 ")
            assert front.suppressions.asked == []

    def test_stranger_is_denied_and_told_nothing_about_recipients(self, tmp_path):
        with running_front(tmp_path, proxy_networks=LOOPBACK) as front, Client(front.port) as client:
            front.suppressions.by_key["dead@example.net"] = Suppressed(Reason.BOUNCE)
            client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n")
            assert client.reply().startswith("220 ")
            client.say(b"EHLO c")
            client.say(b"MAIL FROM:<a@b.test>")
            denied = [client.say(b"RCPT TO:<%s>" % address) for address in (b"dead@example.net", b"x@y.test", b"bad")]
            assert set(denied) == {replies.relaying_denied("192.0.2.7")}
            assert denied[0].startswith("550 5.7.1 ")
            assert front.suppressions.asked == []
            assert client.say(b"VRFY dead@example.net") == client.say(b"VRFY x@y.test") == replies.CANNOT_VERIFY

    def test_stranger_that_could_authenticate_is_told_so(self, tmp_path):
        with running_front(tmp_path, trusted_networks=()) as front, front.connect() as client:
            client.say(b"EHLO c")
            assert client.say(b"MAIL FROM:<a@b.test>") == replies.AUTH_REQUIRED

    @pytest.mark.parametrize(
        "path",
        [
            b"",
            b"user",
            b"postmaster",
            b"@relay.test:user@victim.test",
            b"@a.test,@b.test:user@victim.test",
            b"user%victim.test@gw.example.org",
            b"victim.test!user@gw.example.org",
            b'"user@victim.test"@gw.example.org',
            b"a b@y.test",
            b".a@y.test",
            b"a@-y.test",
            b"(c)a@y.test",
            b"a@y..test",
            b"a@[192.0.2.1]",
            b"a" * 65 + b"@y.test",
            b"a@" + b"b." * 130 + b"test",
        ],
    )
    def test_what_is_no_plain_mailbox_is_553(self, client, path):
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        assert client.say(b"RCPT TO:<" + path + b">").startswith("553 5.1.3 ")

    def test_bad_sender_is_553(self, client):
        client.say(b"EHLO c")
        assert client.say(b"MAIL FROM:<nobody>").startswith("553 5.1.7 ")
        assert client.say(b"RCPT TO:<bob@example.net>") == replies.MAIL_FIRST

    def test_address_beyond_ascii_is_told_so(self, client):
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        assert client.say("RCPT TO:<jörg@b.test>".encode()) == replies.NON_ASCII_ADDRESS


class TestRefusingContent:
    @pytest.mark.parametrize(
        ("content", "reply"),
        [
            (b"To: a@b.test\r\n\r\n", "550 5.6.0 The message has no From header field"),
            (b"From: a@b.test\r\nFrom: c@d.test\r\n\r\n", "550 5.6.0 The message has more than one From header field"),
            (
                MESSAGE + b"x" * 999 + b"\r\n",
                "550 5.6.0 The content has a line longer than 998 octets in line 6",
            ),
            (
                b"From: a@b.test\r\n: empty\r\nBcc: hid@c.test\r\n\r\n",
                "550 5.6.0 The header section has neither a field nor the empty line that ends it in line 2",
            ),
            (MESSAGE + b"\0\r\n", "550 5.6.0 The content has a NUL octet in line 6"),
            (b"Received: x\r\n" * 51 + MESSAGE, "554 5.4.6 The message has more than 50 Received fields: a mail loop"),
        ],
    )
    def test_reply_says_what_is_wrong_and_the_session_goes_on(self, front, client, content, reply):
        assert client.mail(content) == reply
        assert client.mail(MESSAGE).startswith("250 ")
        assert len(front.messages.stored) == 1

    def test_bare_lf_is_repaired_on_a_lan_listener_and_refused_on_a_modern_one(self, tmp_path):
        content = MESSAGE.replace(b"\r\n", b"\n") + b"\r\n"
        with running_front(tmp_path) as front, front.connect() as client:
            assert client.mail(content).startswith("250 ")
            assert front.messages.envelopes[0].content == MESSAGE + b"\r\n"
        settings = {"profiles": ("modern",), "credentials": CredentialDouble(credential())}
        with running_front(tmp_path, **settings) as front, admitted(front) as client:
            assert client.mail(content).startswith("550 5.6.0 The content has a bare LF in line 1")

    def test_repair_does_not_lead_round_the_size_limit(self, tmp_path):
        with running_front(tmp_path, max_message_bytes=1000) as front, front.connect() as client:
            assert client.mail(MESSAGE + b"\n" * 600 + b"\r\n").startswith("552 5.3.4 ")
            assert front.messages.stored == []


class TestStoreAndDisk:
    def test_a_commit_is_waited_for_as_long_as_the_setting_says(self, tmp_path):
        with running_front(tmp_path, gate_timeout=timedelta(seconds=3)) as front:
            handler = front.front._servers[0]._make_protocol.args[0]
            assert handler._commits._patience._seconds == handler._lookups._patience._seconds == 3.0

    @pytest.mark.parametrize("error", [StoreUnavailableError("locked: /var/lib/x.db"), RuntimeError("/var/lib/x.db")])
    def test_store_failure_is_transient_and_not_quoted(self, front, client, error):
        front.messages.error = error
        reply = client.mail(MESSAGE)
        assert reply.startswith("451 4.3.0 ")
        assert "x.db" not in reply
        front.messages.error = None
        assert client.mail(MESSAGE).startswith("250 ")

    def test_commit_that_does_not_begin_in_time_is_called_off_for_good(self, tmp_path):
        with running_front(tmp_path, gate_timeout=timedelta(milliseconds=200)) as front:
            front.messages.hold = True
            with front.connect() as client:
                assert client.mail(MESSAGE) == replies.STORE_UNAVAILABLE
            front.messages.commit_held()
            assert front.messages.stored == []

    def test_commit_that_has_begun_is_waited_for(self, tmp_path):
        with running_front(tmp_path, gate_timeout=timedelta(milliseconds=200)) as front:
            front.messages.hold = True
            with front.connect() as client:
                client.begin()
                client.send(MESSAGE + b".\r\n")
                until(lambda: front.messages.held)
                assert front.messages.held[0][0].set_running_or_notify_cancel()
                client.socket.settimeout(1)
                with pytest.raises(TimeoutError):
                    client.socket.recv(1, socket.MSG_PEEK)
                client.socket.settimeout(20)
                front.messages.commit_held()
                assert client.socket.recv(100).startswith(b"250 2.0.0 OK: queued as ")

    def test_full_disk_is_452_at_mail(self, tmp_path):
        with running_front(tmp_path, min_free_bytes=1 << 60) as front, front.connect() as client:
            client.say(b"EHLO c")
            assert client.say(b"MAIL FROM:<a@b.test>") == replies.NO_ROOM

    def test_disk_that_fills_up_in_the_transaction_is_452_at_data(self, front, client, monkeypatch):
        client.say(b"EHLO c")
        client.say(b"MAIL FROM:<a@b.test>")
        client.say(b"RCPT TO:<bob@example.net>")
        fill_the_disk(monkeypatch)
        assert client.say(b"DATA") == replies.NO_ROOM

    def test_disk_that_fills_up_while_the_content_comes_is_452_after_it(self, front, client, monkeypatch):
        assert client.begin().startswith("354 ")
        fill_the_disk(monkeypatch)
        assert client.say(MESSAGE + b".") == replies.NO_ROOM
        assert front.messages.stored == []

    def test_store_without_room_is_452_until_there_is_room_again(self, front, client):
        front.messages.error = NoSpaceError("database or disk is full")
        assert client.mail(MESSAGE) == replies.NO_ROOM
        front.messages.error = None
        assert client.mail(MESSAGE).startswith("250 ")

    def test_the_disk_that_is_watched_is_the_one_with_the_database(self, tmp_path):
        database_url = f"sqlite:///{tmp_path / 'elsewhere' / 'mail.db'}"
        settings = Settings(data_dir=tmp_path, database_url=database_url)
        assert _where_mail_is_kept(settings) == tmp_path / "elsewhere"
        assert _where_mail_is_kept(Settings(data_dir=tmp_path)) == tmp_path
        assert _where_mail_is_kept(Settings(data_dir=tmp_path, database_url="postgresql://db/mail")) == tmp_path


def test_a_commit_whose_outcome_is_unknown_is_not_answered_at_all(front, client):
    front.messages.error = OutcomeUnknownError("The database went away during a commit.")
    client.begin(b"bob@example.net")
    client.send(MESSAGE + b".\r\n")
    assert client.replies() == []
