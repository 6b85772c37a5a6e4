from __future__ import annotations

import re
from functools import partial
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp import replies
from gateway.smtp.connection import _LAN
from gateway.smtp.limits import Limits
from gateway.smtp.protocol import _PLAIN, GatewaySMTP
from gateway.smtp.replies import RefusedError
from tests.gateway.smtp.running import MESSAGE, Client, running_front

_LINES = st.one_of(
    st.binary(max_size=30).map(lambda octets: octets + b"\r\n"),
    st.lists(
        st.sampled_from([b"MAIL", b"rcpt", b" ", b"  ", b"FROM:<a@b.test>", b"\t", b"\xc3\xbc", b"\r", b"\n", b"x"])
    )
    .map(b"".join)
    .map(lambda octets: octets + b"\r\n"),
)


@given(_LINES)
def test_a_plain_command_reads_as_any_other_way_to_read_it(line):
    session = SimpleNamespace(_limits=Limits(), _listener=_LAN)
    session._parsed_with_care = partial(GatewaySMTP._parsed_with_care, session)

    def outcome(parse):
        try:
            return parse(session, line)
        except RefusedError as refusal:
            return refusal.reply

    assert outcome(GatewaySMTP._parsed) == outcome(GatewaySMTP._parsed_with_care)


@pytest.mark.parametrize(
    ("line", "is_plain"),
    [
        (b"MAIL FROM:<a@b.test> SIZE=1\r\n", True),
        (b"data\r\n", True),
        (b"MAIL  FROM:<a@b.test>\r\n", False),
        (b"MAIL FROM:<a@b.test> \r\n", False),
        (b"DATA\n", False),
    ],
)
def test_which_commands_are_plain(line, is_plain):
    assert (_PLAIN.fullmatch(line) is not None) == is_plain


def test_banner_names_the_program_and_no_version(front):
    with Client(front.port) as client:
        assert client.reply() == "220 gw.example.org ESMTP sesgate"


def test_ehlo_offers_what_there_is_and_nothing_else(client):
    assert client.say(b"EHLO c").split("\n") == [
        "250-gw.example.org",
        "250-SIZE 29360128",
        "250-8BITMIME",
        "250-PIPELINING",
        "250-ENHANCEDSTATUSCODES",
        "250-AUTH PLAIN LOGIN",
        "250 HELP",
    ]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"HELO", replies.HELO_SYNTAX),
        (b"EHLO ", replies.HELO_SYNTAX),
        (b"MAIL FROM:<a@b.test>", replies.HELO_FIRST),
        (b"RCPT TO:<a@b.test>", replies.HELO_FIRST),
        (b"DATA", replies.HELO_FIRST),
        (b"", replies.UNKNOWN_COMMAND),
        (b"XYZZY", replies.UNKNOWN_COMMAND),
        (b"STARTTLS", replies.TLS_UNAVAILABLE),
        (b"AUTH PLAIN AGEAYg==", replies.HELO_FIRST),
        (b"EXPN list", replies.NOT_IMPLEMENTED),
        (b"VRFY", replies.CANNOT_VERIFY),
        (b"noop x", replies.OK),
        (b"HELP MAIL", replies.HELP),
        (b"NOOP " + b"x" * 3000, replies.COMMAND_TOO_LONG),
    ],
)
def test_first_command(client, command, reply):
    assert client.say(command) == reply


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"RCPT TO:<a@b.test>", replies.MAIL_FIRST),
        (b"DATA", replies.RCPT_FIRST),
        (b"MAIL FROM:<a@b.test> SIZE=29360129", replies.TOO_LARGE),
        (b"MAIL FROM:<a@b.test> SIZE=29360128", replies.SENDER_OK),
        (b"MAIL FROM:<a@b.test> AUTH=<> BODY=8BITMIME RET=FULL ENVID=1", replies.SENDER_OK),
        (b"MAIL FROM:<a@b.test> SMTPUTF8", replies.UNKNOWN_PARAMETER),
        (b"MAIL FROM: <a@b.test>", replies.SENDER_OK),
        (b"MAIL FROM:a@b.test", replies.MAIL_SYNTAX),
    ],
)
def test_command_after_ehlo(client, command, reply):
    client.say(b"EHLO c")
    assert client.say(command) == reply


def test_second_mail_command_is_out_of_order(client):
    client.say(b"EHLO c")
    client.say(b"MAIL FROM:<>")
    assert client.say(b"MAIL FROM:<a@b.test>") == replies.NESTED_MAIL
    assert client.say(b"DATA x") == replies.DATA_SYNTAX
    assert client.say(b"RCPT TO:<a@b.test> NOTIFY=NEVER") == replies.RECIPIENT_OK


def test_ehlo_in_a_transaction_ends_it(client):
    client.say(b"EHLO c")
    client.say(b"MAIL FROM:<a@b.test>")
    client.say(b"EHLO c")
    assert client.say(b"RCPT TO:<a@b.test>") == replies.MAIL_FIRST


def test_quit_is_answered_and_ends_the_connection(client):
    client.send(b"QUIT\r\n")
    assert client.replies() == [replies.GOODBYE]


def test_every_reply_has_a_code_and_an_enhanced_code_that_agree():
    named = [value for name, value in vars(replies).items() if name.isupper() and isinstance(value, str)]
    for reply in set(named) - {replies.IDENT, replies.START_DATA}:
        assert re.fullmatch(r"([245])\d\d \1\.\d{1,2}\.\d{1,2} [\x20-\x7e]+", reply), reply


class TestBudgets:
    def test_ten_errors_end_the_session(self, client):
        client.send(b"XYZZY\r\n" * 20)
        assert client.replies() == [replies.UNKNOWN_COMMAND] * 9 + [replies.TOO_MANY_ERRORS]

    def test_empty_and_overlong_and_non_ascii_lines_are_errors_too(self, client):
        client.send((b"\r\n" + b"x" * 3000 + b"\r\n" + b"\xff\r\n" + b"a\n") * 3)
        assert client.replies()[-1] == replies.TOO_MANY_ERRORS

    def test_line_without_end_ends_the_session(self, client):
        client.send(b"x" * 200_000)
        assert client.replies() == [replies.COMMAND_TOO_LONG]

    def test_noop_and_rset_keep_nobody_connected(self, client):
        client.send(b"NOOP\r\nRSET\r\n" * 100)
        answers = client.replies()
        assert answers[-1] == replies.TOO_MANY_ERRORS
        assert len(answers) == 110

    def test_accepted_message_renews_the_budgets(self, tmp_path):
        with running_front(tmp_path, limits=Limits(errors=3, junk_commands=2)) as front, front.connect() as client:
            for _ in range(3):
                client.say(b"XYZZY")
                client.say(b"XYZZY")
                assert client.mail(MESSAGE).startswith("250 ")

    def test_recipients_beyond_the_limit_are_for_another_transaction(self, tmp_path):
        with running_front(tmp_path, limits=Limits(recipients=100, recipient_overshoot=5)) as front:
            with front.connect() as client:
                client.say(b"EHLO c")
                client.say(b"MAIL FROM:<a@b.test>")
                client.send(b"".join(b"RCPT TO:<u%d@b.test>\r\n" % number for number in range(105)))
                answers = [client.reply() for _ in range(105)]
                assert answers == [replies.RECIPIENT_OK] * 100 + [replies.TOO_MANY_RECIPIENTS] * 5
                client.say(b"DATA")
                assert client.say(MESSAGE + b".").startswith("250 ")
                assert len(front.messages.envelopes[0].forward_paths) == 100
            with front.connect() as client:
                client.say(b"EHLO c")
                client.say(b"MAIL FROM:<a@b.test>")
                client.send(b"RCPT TO:<same@b.test>\r\n" * 106)
                assert client.replies()[-1] == replies.TOO_MANY_ERRORS

    def test_limits_of_one_session_are_not_those_of_another(self, client, front):
        for _ in range(30):
            client.say(b"EHLO c")
        assert client.say(b"MAIL FROM:<a@b.test>" + b" " * 2100) == replies.COMMAND_TOO_LONG
        with front.connect() as other:
            other.say(b"EHLO c")
            assert other.say(b"MAIL FROM:<a@b.test>" + b" " * 1000) == replies.SENDER_OK


class TestTimeLimits:
    def test_idle_client_is_told_and_left(self, tmp_path):
        with running_front(tmp_path, limits=Limits(idle=0.2)) as front, front.connect() as client:
            assert client.replies() == [replies.IDLE_TOO_LONG]

    def test_stranger_is_left_sooner_than_a_trusted_client(self, tmp_path):
        limits = Limits(idle=20, stranger_idle=0.2)
        values = {"limits": limits, "trusted_networks": (ip_network("127.0.0.1"),)}
        with running_front(tmp_path, **values) as front, front.connect() as client:
            with Client(front.port, source="127.0.0.7") as stranger:
                assert stranger.reply().startswith("220 ")
                assert stranger.say(b"EHLO c").startswith("250-")
                assert stranger.replies() == [replies.IDLE_TOO_LONG]
            assert client.say(b"NOOP") == replies.OK

    def test_client_idle_in_its_content_is_told_and_left(self, tmp_path):
        with running_front(tmp_path, limits=Limits(idle=0.3)) as front, front.connect() as client:
            client.begin()
            client.send(MESSAGE)
            assert client.replies() == [replies.IDLE_TOO_LONG]
            assert front.messages.stored == []

    def test_dripping_content_is_cut_off(self, tmp_path):
        with running_front(tmp_path, limits=Limits(idle=0.3)) as front, front.connect() as client:
            client.begin()
            client.socket.settimeout(0.05)
            answer = b""
            for _ in range(400):  # an octet each twentieth of a second is never idle, and never 500 a second
                try:
                    client.send(b"x")
                    answer = client.socket.recv(200)
                    break
                except TimeoutError:
                    continue
            assert answer.decode().startswith(replies.IDLE_TOO_LONG)

    def test_session_without_a_message_ends(self, tmp_path):
        limits = Limits(session_without_message=0.2, junk_commands=1_000_000)
        with running_front(tmp_path, limits=limits) as front, front.connect() as client:
            answers = iter(lambda: client.say(b"NOOP"), replies.SESSION_TOO_LONG)
            assert set(answers) <= {replies.OK}
