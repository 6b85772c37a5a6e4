"""Whole SMTP sessions against a model: hypothesis chooses the commands and how their octets are cut into segments.

The model knows what a session may be in (greeted, in a transaction, with which recipients, how much of its budgets is
left) and foretells every reply. What the front keeps must be what the model says it acknowledged, octet by octet.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.smtp import replies
from gateway.smtp.limits import Limits
from tests.gateway.smtp.running import MESSAGE, Client, RunningFront, running_front

LIMITS = Limits(errors=6, junk_commands=8, recipients=3, recipient_overshoot=4, command_octets=200, linger=0.05)
MAX_OCTETS = 2000

_QUEUED = "250 2.0.0 OK: queued as "
_cuts = st.lists(st.integers(1, 40), max_size=6)

_ERRORS = st.sampled_from(
    (
        (b"XYZZY\r\n", replies.UNKNOWN_COMMAND),
        (b"\r\n", replies.UNKNOWN_COMMAND),
        (b" NOOP\r\n", replies.UNKNOWN_COMMAND),
        (b"ETRN x\r\n", replies.NOT_IMPLEMENTED),
        (b"NOOP\n", replies.COMMAND_WITHOUT_CRLF),
        (b"NO\0OP\r\n", replies.COMMAND_NOT_ASCII),
        (b"EHLO c\rRSET\r\n", replies.COMMAND_NOT_ASCII),
        (b"\xff\xfe\r\n", replies.COMMAND_NOT_ASCII),
        (b"NOOP " + b"x" * 300 + b"\r\n", replies.COMMAND_TOO_LONG),
        (b"HELO\r\n", replies.HELO_SYNTAX),
    )
)
_SENDERS = st.sampled_from(
    (
        (b"<a@b.test>", replies.SENDER_OK),
        (b"<> SIZE=10 BODY=8BITMIME", replies.SENDER_OK),
        (b'<"a b"@c.test> AUTH=<>', replies.SENDER_OK),
        (b"<a@b.test> SIZE=99999", replies.TOO_LARGE),
        (b"<nobody>", "553 5.1.7 "),
        (b"<a@b.test", replies.MAIL_SYNTAX),
        (b"<a@b.test> SIZE=-1", replies.SIZE_SYNTAX),
        (b"<a@b.test> FOO=1", replies.UNKNOWN_PARAMETER),
        ("<ü@b.test>".encode(), replies.NON_ASCII_ADDRESS),
    )
)
_RECIPIENTS = st.sampled_from(
    (
        *((b"<u%d@y.test>" % number, replies.RECIPIENT_OK) for number in range(6)),
        (b"<u0@Y.Test> NOTIFY=NEVER", replies.RECIPIENT_OK),
        (b"<user%host@gw.test>", "553 5.1.3 "),
        (b"<@a.test:user@b.test>", "553 5.1.3 "),
        (b"<>", "553 5.1.3 "),
        (b"u@y.test>", replies.RCPT_SYNTAX),
        (b"<u@y.test> SIZE=1", replies.UNKNOWN_PARAMETER),
        ("<ü@y.test>".encode(), replies.NON_ASCII_ADDRESS),
    )
)
_NO_ERRORS = ("553", "552", "452")  # what an honest client may meet often
_CONTENTS = st.one_of(
    st.sampled_from((b"", b".\r\n", b"..\r\n", b".\r\n.x\r\n", b"\n.\n", b"\n.\r\nQUIT\r\n", b"\xff\x80\r\n")),
    st.lists(st.sampled_from((b"a", b".", b"\r\n", b"\r\n.", b"\r\n..", b"\xe4", b" ")), max_size=30).map(b"".join),
)
_REFUSED_CONTENTS = st.sampled_from((b"\0", b"a\rb", b"\r.\r", b"x" * 999, b"\r\r\n", b"x\r\n" * 700))


class Sessions(RuleBasedStateMachine):
    """One session an example, on a front that all share."""

    front: ClassVar[RunningFront]
    played: ClassVar[int] = 0

    @initialize(steps=st.integers(0, 3))
    def connect(self, steps: int) -> None:
        """Connect, and go some of the steps to DATA: blind choice would seldom get there."""
        Sessions.played += 1
        self.kept_before = len(self.front.messages.stored)
        self.client = Client(self.front.port)
        self.client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self.client.reply().startswith("220 ")
        self.greeted = self.open = self.closed = False
        self.recipients: set[bytes] = set()
        self.rcpt_commands = self.errors = self.junk = 0
        self.accepted: list[tuple[bytes, set[bytes]]] = []
        self.waiting = b""
        self.expected: list[str] = []
        for step in (lambda: self.greet(b"EHLO"), self.go_on, self.go_on)[:steps]:
            step()

    # What comes back

    def _say(self, line: bytes, reply: str, *, junk: bool = False) -> None:
        """Foretell a reply; the octets wait for `flush`, so that several commands may share a segment."""
        self.waiting += line
        if junk:
            self.junk += 1
            if self.junk > LIMITS.junk_commands and self._is_error_too_many():
                return
        is_error = reply[0] == "5" and not reply.startswith(_NO_ERRORS)
        if is_error and self._is_error_too_many():
            return
        self.expected.append(reply)

    def _is_error_too_many(self) -> bool:
        self.errors += 1
        if self.errors >= LIMITS.errors:
            self._end(replies.TOO_MANY_ERRORS)
        return self.closed

    def _end(self, reply: str) -> None:
        self.expected.append(reply)
        self.closed = True

    def _reset(self) -> None:
        self.open, self.recipients, self.rcpt_commands = False, set(), 0

    @rule(cuts=_cuts)
    def flush(self, cuts: list[int]) -> None:
        """Send what waits, in segments, and hold each reply against what was foretold."""
        self._send(self.waiting, cuts)
        self.waiting = b""
        for foretold in self.expected:
            reply = self.client.reply()
            assert reply.startswith(foretold), f"{reply!r} instead of {foretold!r}"
        self.expected.clear()
        if self.closed:
            assert self.client.replies() == [], "nothing follows the last reply"

    def _send(self, data: bytes, cuts: list[int]) -> None:
        begin = 0
        for cut in cuts:
            self.client.send(data[begin : begin + cut])
            begin += cut
        if data[begin:]:
            self.client.send(data[begin:])

    # What a client says

    @precondition(lambda self: not self.closed)
    @rule(error=_ERRORS)
    def say_nonsense(self, error: tuple[bytes, str]) -> None:
        line, reply = error
        self._say(line, reply, junk=line == b"HELO\r\n")

    @precondition(lambda self: not self.closed)
    @rule(verb=st.sampled_from((b"EHLO", b"helo", b"HeLo")))
    def greet(self, verb: bytes) -> None:
        self._say(verb + b" client.test\r\n", "250", junk=True)
        if not self.closed:
            self.greeted = True
            self._reset()

    @precondition(lambda self: not self.closed)
    @rule(sender=_SENDERS)
    def mail(self, sender: tuple[bytes, str]) -> None:
        path, reply = sender
        before_the_state = reply == replies.NON_ASCII_ADDRESS
        if not before_the_state:
            reply = replies.HELO_FIRST if not self.greeted else replies.NESTED_MAIL if self.open else reply
        self._say(b"MAIL FROM:" + path + b"\r\n", reply)
        self.open = self.open or reply == replies.SENDER_OK

    @precondition(lambda self: not self.closed and self.greeted and not self.recipients)
    @rule()
    def go_on(self) -> None:
        if self.open:
            self.rcpt((b"<u0@y.test>", replies.RECIPIENT_OK))
        else:
            self.mail((b"<a@b.test>", replies.SENDER_OK))

    @precondition(lambda self: not self.closed)
    @rule(recipient=_RECIPIENTS)
    def rcpt(self, recipient: tuple[bytes, str]) -> None:
        path, reply = recipient
        line = b"RCPT TO:" + path + b"\r\n"
        if reply == replies.NON_ASCII_ADDRESS:
            self._say(line, reply)
            return
        if not (self.greeted and self.open):
            self._say(line, replies.MAIL_FIRST if self.greeted else replies.HELO_FIRST)
            return
        self.rcpt_commands += 1
        if self.rcpt_commands > LIMITS.recipients + LIMITS.recipient_overshoot:
            self.waiting += line
            self._end(replies.TOO_MANY_ERRORS)
            return
        name = path[1 : path.index(b">")].lower()
        is_new = reply == replies.RECIPIENT_OK and name not in self.recipients
        if is_new and len(self.recipients) >= LIMITS.recipients:
            reply, is_new = replies.TOO_MANY_RECIPIENTS, False
        self._say(line, reply)
        if is_new:
            self.recipients.add(name)

    @precondition(lambda self: not self.closed)
    @rule(verb=st.sampled_from((b"NOOP", b"RSET", b"VRFY x", b"HELP")))
    def pass_the_time(self, verb: bytes) -> None:
        known = {b"NOOP": replies.OK, b"RSET": replies.OK, b"VRFY x": replies.CANNOT_VERIFY, b"HELP": replies.HELP}
        self._say(verb + b"\r\n", known[verb], junk=True)
        if verb == b"RSET" and not self.closed:
            self._reset()

    @precondition(lambda self: not self.closed and not self.recipients)
    @rule()
    def data_too_early(self) -> None:
        self._say(b"DATA\r\n", replies.RCPT_FIRST if self.greeted else replies.HELO_FIRST)

    @precondition(lambda self: not self.closed and self.recipients)
    @rule(body=_CONTENTS, cuts=_cuts)
    def data(self, body: bytes, cuts: list[int]) -> None:
        content = MESSAGE + body
        content += b"" if content.endswith(b"\r\n") else b"\r\n"
        self._hand_in(content, cuts, _QUEUED)
        repaired = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # the listener is a lan's
        self.accepted.append((repaired, self.recipients))
        self.errors = self.junk = 0
        self._reset()

    @precondition(lambda self: not self.closed and self.recipients)
    @rule(body=_REFUSED_CONTENTS, cuts=_cuts)
    def data_that_is_refused(self, body: bytes, cuts: list[int]) -> None:
        self._hand_in(MESSAGE + body + b"\r\n", cuts, "55")
        self._reset()

    def _hand_in(self, content: bytes, cuts: list[int], reply: str) -> None:
        """Content may not be sent ahead of 354; commands behind its end may be sent with it."""
        self._say(b"DATA\r\n", replies.START_DATA)
        self.flush([])
        stuffed = b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in content.split(b"\r\n")[:-1])
        self._send(stuffed[:-1], cuts)
        self.waiting = stuffed[-1:] + b".\r\n"
        self.expected.append(reply)

    @precondition(lambda self: not self.closed and self.accepted)
    @rule(line=st.sampled_from((b"BDAT 5 LAST\r\n", b"GET / HTTP/1.1\r\n", b"Host: x\r\n")))
    def speak_another_protocol(self, line: bytes) -> None:
        self.waiting += line + b"MAIL FROM:<evil@z.test>\r\n"
        self._end(replies.NOT_SMTP)

    @precondition(lambda self: not self.closed and self.accepted)
    @rule()
    def quit(self) -> None:
        self.waiting += b"QUIT\r\n"
        self._end(replies.GOODBYE)

    def teardown(self) -> None:
        """What the front kept is what it acknowledged."""
        if not hasattr(self, "client"):
            return
        try:
            self.flush([])
        finally:
            self.client.close()
        kept = self.front.messages.envelopes[self.kept_before :]
        assert [envelope.content for envelope in kept] == [content for content, _ in self.accepted]
        for envelope, (_, recipients) in zip(kept, self.accepted, strict=True):
            assert {str(path).lower().encode() for path in envelope.forward_paths} == recipients


def play(*, seconds: float = 0, examples: int = 100, seed: int = 0, shrink: bool = True) -> int:
    """Play so many sessions at a time for so long, at least once; how many there were.

    AssertionError tells what was foretold and what came; hypothesis prints the commands before it, as few as will do.
    """
    before, until = Sessions.played, time.monotonic() + seconds
    with _front():
        while True:
            _play(examples, seed, (Phase.generate, Phase.shrink) if shrink else (Phase.generate,))
            seed += 1
            if time.monotonic() >= until:
                return Sessions.played - before


def _play(examples: int, seed: int, phases: tuple[Phase, ...]) -> None:
    machine = seeded(seed)(type("Seeded", (Sessions,), {}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@contextmanager
def _front() -> Iterator[None]:
    with (
        tempfile.TemporaryDirectory() as directory,
        running_front(Path(directory), limits=LIMITS, max_message_bytes=MAX_OCTETS) as front,
    ):
        Sessions.front = front
        yield
