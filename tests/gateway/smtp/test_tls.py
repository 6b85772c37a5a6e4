"""STARTTLS and implicit TLS over real sockets, and certificates that are renewed or of no use."""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from structlog.testing import CapturingLogger

from gateway.setting_values import parse_listeners
from gateway.settings import Settings
from gateway.smtp import connection, reception, replies, tls
from gateway.smtp.server import Front
from gateway.smtp.tls import CertificateError, Certificates, open_certificates
from tests.gateway.smtp.certificates import (
    antique_client_context,
    client_context,
    pair_in,
    shared_pair,
    write_pair,
)
from tests.gateway.smtp.running import HOST, MESSAGE, Client, MessageDouble, SuppressionDouble, running_front
from tests.support.waiting import until

LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
NOW = datetime.now(UTC)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def front(request, tmp_path):
    profiles = ("lan", "lan tls", "modern", "antique", "lan min-tls=1.3")
    with running_front(tmp_path, profiles=profiles, loop_factory=request.param) as running:
        yield running


class TestStarttls:
    def test_mail_goes_through_and_says_so(self, front):
        with front.connect() as client:
            assert "250-STARTTLS" in client.say(b"EHLO c").split("\n")
            client.start_tls()
            assert "STARTTLS" not in client.say(b"EHLO c")
            assert client.mail(MESSAGE + (b"y" * 900 + b"\r\n") * 300).startswith("250 ")
        assert front.messages.envelopes[0].origin.protocol == "ESMTPS"

    def test_nothing_from_before_is_remembered(self, front):
        with front.connect() as client:
            client.say(b"EHLO c")
            client.say(b"MAIL FROM:<a@b.test>")
            client.start_tls()
            assert client.say(b"MAIL FROM:<a@b.test>") == replies.HELO_FIRST
            client.say(b"EHLO c")
            assert client.say(b"RCPT TO:<c@d.test>") == replies.MAIL_FIRST

    @pytest.mark.parametrize("injected", [b"EHLO evil\r\n", b"NOOP\r\n", b"\r\n", b"x"])
    def test_injected_commands_are_refused(self, front, injected):
        with front.connect() as client:
            client.say(b"EHLO c")
            client.send(b"STARTTLS\r\n" + injected)
            assert client.replies() == [replies.SPOKE_BEFORE_TLS]

    def test_commands_after_the_reply_in_the_clear_end_the_connection(self, front):
        with front.connect() as client:
            client.say(b"EHLO c")
            assert client.say(b"STARTTLS") == replies.START_TLS
            client.send(b"EHLO evil\r\nNOOP\r\n")
            client.socket.settimeout(20)
            assert b"250" not in b"".join(iter(lambda: received(client), b""))
        until(lambda: front.connections == 0)

    def test_not_twice(self, front):
        with front.connect() as client:
            client.say(b"EHLO c")
            client.start_tls()
            assert client.say(b"STARTTLS") == replies.TLS_ACTIVE
            assert client.say(b"NOOP") == replies.OK

    def test_takes_no_argument(self, front):
        with front.connect() as client:
            assert client.say(b"STARTTLS now") == replies.STARTTLS_SYNTAX

    def test_is_neither_offered_nor_done_without_a_certificate(self, tmp_path):
        with running_front(tmp_path) as bare, bare.connect() as client:
            assert "STARTTLS" not in client.say(b"EHLO c")
            assert client.say(b"STARTTLS") == replies.TLS_UNAVAILABLE

    def test_commands_may_be_pipelined_under_tls(self, front):
        with front.connect() as client:
            client.start_tls()
            client.send(b"EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
            assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
            client.send(MESSAGE + b".\r\nQUIT\r\n")
            assert [reply[:3] for reply in client.replies()] == ["250", "221"]

    def test_a_client_that_leaves_amid_the_handshake_leaves_nothing(self, front):
        for payload in (b"", b"\x16\x03\x01\x02\x00\x01\x00"):
            with front.connect() as client:
                client.say(b"STARTTLS")
                client.send(payload)
        until(lambda: front.connections == 0)

    def test_an_error_closes_under_tls_too(self, front):
        with front.connect() as client:
            client.start_tls()
            client.send(b"GET / HTTP/1.1\r\n")
            assert client.reply() == replies.NOT_SMTP


class TestImplicit:
    def test_mail_goes_through_and_says_so(self, front):
        with smtplib.SMTP_SSL(HOST, front.ports[1], context=client_context()) as smtp:
            smtp.sendmail("a@b.test", ["c@d.test"], MESSAGE)
            assert not smtp.has_extn("starttls")
            assert smtp.docmd("STARTTLS")[0] == 503
        assert front.messages.envelopes[0].origin.protocol == "ESMTPS"

    def test_a_client_in_the_clear_is_left(self, front):
        with Client(front.ports[1]) as client:
            client.send(b"EHLO c\r\n")
            while received(client):
                pass
        until(lambda: front.connections == 0)

    def test_a_handshake_takes_a_place(self, front):
        with Client(front.ports[1]):
            until(lambda: front.connections == 1)
        until(lambda: front.connections == 0)


@LOOPS
def test_a_stalled_handshake_is_ended_in_silence(tmp_path, monkeypatch, loop_factory):
    log = CapturingLogger()
    for module in (connection, reception):
        monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT", 0.3)
        monkeypatch.setattr(module, "log", log)
    with running_front(tmp_path, profiles=("lan", "lan tls"), loop_factory=loop_factory) as front:
        with front.connect() as explicit, Client(front.ports[1]) as implicit:
            explicit.say(b"STARTTLS")
            assert explicit.replies() == implicit.replies() == []
        until(lambda: front.connections == 0)
    told = {(call.method_name, call.args[0]) for call in log.calls}
    assert told == {("info", "smtp.tls_failed"), ("info", "smtp.not_received")}
    assert {call.kwargs["reason"] for call in log.calls} <= {
        "the client did not finish in time",
        "the handshake was not finished",
    }


class TestFloors:
    @pytest.mark.parametrize(("listener", "possible"), [(0, True), (4, False)])
    def test_tls_1_2(self, front, listener, possible):
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with front.connect(listener) as client:
            if possible:
                client.start_tls(context)
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    client.start_tls(context)

    @pytest.mark.parametrize(("listener", "possible"), [(0, False), (3, True)])
    def test_tls_1_0_with_the_antique_only(self, front, listener, possible):
        with front.connect(listener) as client:
            if possible:
                client.start_tls(antique_client_context())
                assert client.socket.version() == "TLSv1"
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    client.start_tls(antique_client_context())

    def test_openssl_agrees(self, front):
        for port, options, version in (
            (front.ports[0], ["-starttls", "smtp"], "TLSv1.3"),
            (front.ports[1], ["-tls1_2"], "TLSv1.2"),
            (front.ports[3], ["-starttls", "smtp", "-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"], "TLSv1"),
        ):
            command = ["openssl", "s_client", "-connect", f"{HOST}:{port}", "-brief", *options]
            done = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, timeout=20, check=False)
            assert f"Protocol version: {version}\n" in done.stderr.decode(), done.stderr


class TestModern:
    def test_mail_wants_tls(self, front):
        with Client(front.ports[2]) as client:
            client.reply()
            client.say(b"EHLO c")
            assert client.say(b"MAIL FROM:<a@b.test>") == replies.TLS_FIRST


class TestAntique:
    def test_loose_commands_and_long_header_lines_are_put_right(self, front):
        words = b"X-Words: " + b"word " * 300 + b"end\r\n"
        with front.connect(listener=3) as client:
            assert client.say(b"helo scanner_3rd floor") == replies.helo("gw.example.org")
            assert client.say(b"mail from: a@b.test") == replies.SENDER_OK
            assert client.say(b"rcpt to:<c@d.test") == replies.RECIPIENT_OK
            assert client.say(b"data") == replies.START_DATA
            assert client.say(words + MESSAGE + b".").startswith("250 ")
        [envelope] = front.messages.envelopes
        assert str(envelope.reverse_path) == "a@b.test"
        assert max(map(len, envelope.content.split(b"\r\n"))) <= 998
        assert envelope.content.replace(b"\r\n word", b" word") == words + MESSAGE

    def test_a_long_line_of_a_body_is_refused_with_its_number(self, front):
        with front.connect(listener=3) as client:
            assert "in line 6" in client.mail(MESSAGE + b"y" * 999 + b"\r\n")

    def test_other_listeners_stay_strict(self, front):
        with front.connect() as client:
            client.say(b"EHLO c")
            assert client.say(b"MAIL FROM:a@b.test") == replies.MAIL_SYNTAX
            assert client.mail(b"X: " + b"word " * 300 + b"\r\n" + MESSAGE).startswith("550 5.6.0 ")


def test_an_internationalised_domain_is_taken(tmp_path):
    with running_front(tmp_path) as front, front.connect() as client:
        assert client.mail(MESSAGE, "bob@bücher.example".encode()).startswith("250 ")
        assert [str(path) for path in front.messages.envelopes[0].forward_paths] == ["bob@xn--bcher-kva.example"]


class TestRenewal:
    @LOOPS
    def test_under_load_no_session_is_dropped(self, tmp_path, loop_factory):
        pair = pair_in(tmp_path)
        stop = threading.Event()
        seen, failures, sent = set(), [], []

        def send(port: int) -> None:
            try:
                while not stop.is_set():
                    with smtplib.SMTP(HOST, port, timeout=20) as smtp:
                        smtp.starttls(context=client_context())
                        seen.add(smtp.sock.getpeercert(binary_form=True))
                        for _ in range(3):
                            smtp.sendmail("a@b.test", ["c@d.test"], MESSAGE)
                            sent.append(1)
            except Exception as error:  # noqa: BLE001  the test looks at it
                failures.append(error)

        with running_front(tmp_path, loop_factory=loop_factory, **pair) as front, front.connect() as resident:
            resident.start_tls()
            threads = [threading.Thread(target=send, args=(front.port,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(4):
                renewed = write_pair(pair["tls_cert_file"], pair["tls_key_file"])
                asyncio.run_coroutine_threadsafe(front.front.reload_certificates(), front.loop).result(20)
                until(lambda renewed=renewed: renewed in seen or failures)
            stop.set()
            for thread in threads:
                thread.join(20)
            assert resident.say(b"NOOP") == replies.OK
            assert failures == []
            assert len(front.messages.stored) == len(sent)

    def test_changed_files_are_found(self, tmp_path):
        pair = pair_in(tmp_path)
        certificates = Certificates(*pair.values(), ["1.2"])
        [listener] = parse_listeners("127.0.0.1:25")
        before = certificates.context(listener)
        certificates.refresh(NOW)
        assert certificates.context(listener) is before
        write_pair(*pair.values())
        certificates.refresh(NOW)
        assert certificates.context(listener) is not before

    def test_a_bad_pair_is_told_once_and_the_old_one_stays(self, tmp_path, monkeypatch):
        log = CapturingLogger()
        monkeypatch.setattr(tls, "log", log)
        pair = pair_in(tmp_path)
        certificates = Certificates(*pair.values(), ["1.2"])
        [listener] = parse_listeners("127.0.0.1:25")
        before = certificates.context(listener)
        key = pair["tls_key_file"].read_bytes()
        pair["tls_key_file"].write_text("half writ")
        for _ in range(3):
            certificates.refresh(NOW)
        assert certificates.context(listener) is before
        assert [call.args[0] for call in log.calls] == ["tls.certificate_refused"]
        pair["tls_key_file"].write_bytes(key)
        certificates.refresh(NOW)
        assert [call.args[0] for call in log.calls] == ["tls.certificate_refused", "tls.certificate_loaded"]

    @pytest.mark.parametrize(("days", "said"), [(20, "expires in 19 days"), (23, None), (-1, "has expired")])
    def test_expiry_is_told_once_a_day(self, tmp_path, monkeypatch, days, said):
        log = CapturingLogger()
        monkeypatch.setattr(tls, "log", log)
        pair = {"cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
        write_pair(*pair.values(), expires_at=NOW + timedelta(days=days))
        certificates = Certificates(*pair.values(), ["1.2"])
        for hours in (0, 1, 23, 25):
            certificates.refresh(NOW + timedelta(hours=hours, minutes=1))
        assert len(log.calls) == (2 if said else 0)
        assert all(said in call.kwargs["reason"] for call in log.calls[:1])


class TestStart:
    @pytest.mark.parametrize("listener", ["127.0.0.1:587 modern", "127.0.0.1:465 lan tls"])
    def test_a_listener_that_needs_a_certificate_says_so(self, listener):
        settings = Settings(listeners=parse_listeners(listener))
        with pytest.raises(
            CertificateError, match=rf"^The listener {re.escape(listener)} needs a certificate: set SESG"
        ):
            asyncio.run(Front(settings, MessageDouble(), SuppressionDouble()).start())

    @pytest.mark.parametrize(
        ("file", "content", "sentence"),
        [
            ("tls_cert_file", None, r"^SESGATE_TLS_CERT_FILE: \S+ cannot be read \(No such file or directory\)\.$"),
            ("tls_key_file", None, r"^SESGATE_TLS_KEY_FILE: \S+ cannot be read \(No such file or directory\)\.$"),
            ("tls_cert_file", b"rubbish", r"^SESGATE_TLS_CERT_FILE: \S+ holds no certificate in PEM form\.$"),
            ("tls_key_file", b"rubbish", r"^SESGATE_TLS_KEY_FILE: \S+ holds no private key in PEM form for [^ (]+\.$"),
        ],
    )
    def test_files_of_no_use(self, tmp_path, file, content, sentence):
        pair = pair_in(tmp_path)
        pair[file].unlink()
        if content is not None:
            pair[file].write_bytes(content)
        with pytest.raises(CertificateError, match=sentence):
            open_certificates(Settings(**pair))

    def test_the_key_of_another_certificate(self, tmp_path):
        pair = {**pair_in(tmp_path), "tls_key_file": shared_pair()["tls_key_file"]}
        with pytest.raises(CertificateError, match=r"is not the key of the certificate in"):
            open_certificates(Settings(**pair))

    def test_an_encrypted_key_is_not_asked_for_its_password(self, tmp_path):
        pair = pair_in(tmp_path)
        encrypted = tmp_path / "encrypted.pem"
        command = ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-in", pair["tls_key_file"]]
        kind = pair["tls_key_file"].read_bytes()
        command[1] = "ec" if b"EC PRIVATE" in kind else "rsa"
        subprocess.run([*command, "-out", encrypted], check=True, capture_output=True, timeout=20)
        with pytest.raises(CertificateError, match="is encrypted"):
            open_certificates(Settings(**{**pair, "tls_key_file": encrypted}))


def received(client: Client) -> bytes:
    try:
        return client.socket.recv(4096)
    except ConnectionError:
        return b""
