"""Row 16: TLS and AUTH. Nothing that came in the clear counts under TLS, secrets are not to be guessed, and a renewed
certificate costs nobody a session.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from tests.chaos.client import addresses
from tests.chaos.front_alone import FrontAlone, Talk
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.tls_files import TlsFiles
from tests.support.installation import mail
from tests.support.ports import free_port
from tests.support.waiting import until

_STALL = 15.0  # seconds
_TRIES = {Tier.SHORT: 30, Tier.STANDARD: 1_000, Tier.LONG: 1_000}
_MOST_TRIES = 5  # in one session
_CLIENTS = 6
_RENEWALS = {Tier.SHORT: 0, Tier.STANDARD: 2, Tier.LONG: 10}
_NAMES = addresses()


@scenario(
    "16",
    title="STARTTLS, TLS and AUTH: injection, STARTTLS twice, a stalled handshake, MAIL in the clear, 1,000 "
    "guessed secrets, certificates renewed under load",
    passes="no injected reply; a stall is closed within 15 s; mail in the clear is refused; 5 tries a session; no "
    "session is dropped",
    tiers={Tier.SHORT: 5, Tier.STANDARD: 60, Tier.LONG: 150},
)
def row_16(run: Run) -> None:
    tls, modern = TlsFiles(run.directory / "tls"), free_port()
    lan = free_port()
    listeners = {"SESGATE_LISTENERS": f"127.0.0.1:{lan} lan, 127.0.0.1:{modern} modern"}
    front = run.stack.enter_context(FrontAlone(run.directory / "front", **tls.settings, **listeners))
    front.port = lan
    secret = front.command("credentials", "add", "shop").split()[-1]
    until(lambda: _log_in(front, secret).startswith("235"), what="the new credential is known")
    run.check(not _injected(front, tls), "no command from before TLS is answered under TLS")
    run.check(_twice(front, tls).startswith("503 5.5.1"), "STARTTLS under TLS is out of order")
    _in_the_clear(run, modern)
    if run.tier is not Tier.SHORT:
        _stall(run, front)
    _guess(run, front, secret)
    if _RENEWALS[run.tier]:
        _renew(run, modern, tls, secret, _RENEWALS[run.tier])
    run.check("Traceback" not in front.log and not front.has_ended, "the front lives, and has no traceback in its log")


def _injected(front: FrontAlone, tls: TlsFiles) -> list[str]:
    """What is answered under TLS to commands that came in one segment with STARTTLS; nothing, when all is well."""
    with Talk(front.port) as talk:
        talk.say(b"EHLO client.example.com")
        if not talk.say(b"STARTTLS\r\nEHLO evil.example.com\r\nNOOP injected").startswith("220"):
            return []  # it closes the connection instead
        with _wrapped(talk.socket, tls.client_context) as wrapped:
            wrapped.settimeout(2)
            try:
                return [wrapped.recv(4096).decode(errors="replace")]
            except OSError:
                return []


def _twice(front: FrontAlone, tls: TlsFiles) -> str:
    with Talk(front.port) as talk:
        talk.say(b"EHLO client.example.com")
        assert talk.say(b"STARTTLS").startswith("220")
        with _wrapped(talk.socket, tls.client_context) as wrapped:
            wrapped.sendall(b"STARTTLS\r\n")
            return wrapped.recv(4096).decode()


def _wrapped(connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(connection, server_hostname="localhost")


def _in_the_clear(run: Run, modern: int) -> None:
    """On this machine a secret may go in the clear, for nobody listens; mail on a modern listener may not."""
    with Talk(modern) as talk:
        talk.say(b"EHLO client.example.com")
        answer = talk.say(b"MAIL FROM:<app@example.com>")
        run.figure("MAIL in the clear", answer[:9])
        run.check(answer.startswith("530 5.7.0"), f"MAIL wants TLS first: {answer!r}")


def _stall(run: Run, front: FrontAlone) -> None:
    with Talk(front.port) as talk:
        talk.say(b"EHLO client.example.com")
        assert talk.say(b"STARTTLS").startswith("220")
        began = time.monotonic()
        ended = talk.reply()
        run.figure("stalled handshake closed after (s)", time.monotonic() - began)
        run.check(not ended and time.monotonic() - began <= _STALL, "a stalled handshake is closed within 15 s")


def _guess(run: Run, front: FrontAlone, secret: str) -> None:
    """The right secret is as good after all the wrong ones as before."""
    answers: Counter[str] = Counter()
    most, tries = 0, 0
    while tries < _TRIES[run.tier]:
        with Talk(front.port) as talk:
            talk.say(b"EHLO client.example.com")
            in_session = 0
            while (answer := talk.say(_login(f"guess {tries}"))).startswith("535"):
                in_session, tries = in_session + 1, tries + 1
                answers[answer[:9]] += 1
            answers[answer[:9]] += 1
            most = max(most, in_session)
            assert in_session, f"a new session is answered {answer!r}"
    run.figure("guesses, and the most in one session", f"{tries}, {most}")
    run.figure("answers to guesses", ", ".join(f"{answer} {count}" for answer, count in sorted(answers.items())))
    run.check(most <= _MOST_TRIES, f"a session has at most {_MOST_TRIES} tries")
    run.check(set(answers) <= {"535 5.7.8", "421 4.7.0"}, f"no guess is answered otherwise: {dict(answers)}")
    answer = _log_in(front, secret)
    run.check(answer.startswith("235"), f"the right secret is still good: {answer!r}")


def _log_in(front: FrontAlone, secret: str) -> str:
    with Talk(front.port) as talk:
        talk.say(b"EHLO client.example.com")
        return talk.say(_login(secret))


def _login(secret: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(b"\0shop\0" + secret.encode())


def _renew(run: Run, port: int, tls: TlsFiles, secret: str, renewals: int) -> None:
    """Under clients that log in and send, and one that holds its session over all renewals."""
    done, sent, dropped = threading.Event(), Counter[int](), list[str]()

    def work(number: int) -> None:
        while not done.is_set():
            try:
                with _Session(port, tls.client_context, secret) as session:
                    for _ in range(10):
                        session.send()
                        sent[number] += 1
            except (OSError, AssertionError) as error:
                dropped.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,), name="client") for number in range(_CLIENTS)]
    with _Session(port, tls.client_context, secret) as lasting:
        for thread in threads:
            thread.start()
        try:
            for _ in range(renewals):
                before = _served(port, tls)
                tls.renew()
                until(_differs(port, tls, before), what="the renewed certificate is served")
                lasting.send()
        finally:
            done.set()
            for thread in threads:
                thread.join()
    run.figure("certificates renewed", renewals)
    run.figure("mails during the renewals", sum(sent.values()))
    run.figure("sessions dropped", len(dropped))
    run.check(not dropped, f"no session is dropped, but for {dropped[:3]}")
    run.check(sum(sent.values()) > 0, "mail was sent during the renewals")


def _differs(port: int, tls: TlsFiles, before: bytes) -> Callable[[], bool]:
    return lambda: _served(port, tls) != before


def _served(port: int, tls: TlsFiles) -> bytes:
    with _Session(port, tls.client_context, "") as session:
        return session.certificate


class _Session:
    """A session under STARTTLS; with a secret it has authenticated."""

    def __init__(self, port: int, context: ssl.SSLContext, secret: str) -> None:
        self._talk = Talk(port)
        self._talk.say(b"EHLO client.example.com")
        assert self._talk.say(b"STARTTLS").startswith("220")
        self._talk.socket = _wrapped(self._talk.socket, context)
        self.certificate = self._talk.socket.getpeercert(binary_form=True) or b""
        self._talk.replies = self._talk.socket.makefile("rb")
        if secret:
            self._talk.say(b"EHLO client.example.com")
            answer = self._talk.say(_login(secret))
            assert answer.startswith("235"), f"AUTH is answered {answer!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._talk.close()

    def send(self) -> None:
        to = next(_NAMES)
        for line in (b"MAIL FROM:<app@example.com>", f"RCPT TO:<{to}>".encode(), b"DATA", mail(to) + b"."):
            answer = self._talk.say(line)
            assert answer.startswith(("2", "3")), f"{line[:4]!r} is answered {answer!r}"
