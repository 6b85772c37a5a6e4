"""Row 17: whoever has no right to send sends nothing, and no address carries more than an address."""

from __future__ import annotations

import re
import shutil
import subprocess

from tests.chaos.front_alone import FrontAlone, Talk
from tests.chaos.scenario import Run, Tier, scenario

_VICTIM = b"victim@victim.test"
_FORMS = (
    *(b"<@gw.test:victim@victim.test>", b"<@a.test,@b.test:victim@victim.test>", b"<victim%victim.test@gw.test>"),
    *(b"<victim%victim.test@[127.0.0.1]>", b"<victim@victim.test@gw.test>", b"<victim.test!victim@gw.test>"),
    *(b"<victim.test!victim>", b'<"victim@victim.test"@gw.test>', b'<"victim%victim.test"@gw.test>'),
    *(b'<"victim@victim.test">', b"<victim@victim.test:gw.test>", b"<gw.test:victim@victim.test>", b"<>", b"<@>"),
    *(b"<victim>", b"<postmaster>", b"<@victim.test>", b"<victim@>", b"<victim@-victim.test>", b"<.victim@y.test>"),
    *(b"<victim.@y.test>", b"<vic..tim@y.test>", b"<victim@victim..test>", b"<victim@[192.0.2.1]>", b"<v tim@y.test>"),
    *(b"<(c)victim@victim.test>", b"<victim@victim.test", b"victim@victim.test>", b"<victim@victim.test>>"),
    *(b"<<victim@victim.test>>", b"<a@b.test> <victim@victim.test>", b"<a@b.test>,<victim@victim.test>"),
    *(b'<"victim\rBcc: x"@y.test>', b'<"a\\\rX: y"@y.test>', b"<a\rb@y.test>", b"<a\nb@y.test>", b"<a\0b@y.test>"),
    *(b"<a@y.test\x01>", b'<"\x7f"@y.test>', b"<a\tb@y.test>", b"<\xff@y.test>", b"<\xed\xb3\xbf@y.test>"),
    *(b"<" + b"a" * 65 + b"@y.test>", b"<a@" + b"b." * 130 + b"test>", b"<a@b.test> NOTIFY=NEVER X=<victim@v.test>"),
    *(b"<a@\xc2\xadb.test>", b"<a@b.test\r\nRCPT TO:<victim@victim.test>"),
)
_CLOSED = re.compile("isn't an open relay|doesn't seem to be an open relay, all tests failed")
_PROPER = re.compile(r"[45]\d\d ([45])\.\d{1,3}\.\d{1,3} [\x20-\x7e]+")


@scenario(
    "17",
    title="Relay and address battery: nmap's smtp-open-relay, 47 forms of an address, as a stranger and as a client",
    passes="nothing is relayed without a right; no control octet past RCPT; 4xx or 5xx with an enhanced code",
    tiers={Tier.SHORT: 4, Tier.STANDARD: 6, Tier.LONG: 6},
)
def row_17(run: Run) -> None:
    front = run.stack.enter_context(FrontAlone(run.directory / "front", SESGATE_TRUSTED_NETWORKS="127.0.0.1"))
    _as_stranger(run, front)
    _as_client(run, front)
    if run.tier is not Tier.SHORT:
        _by_nmap(run, front)
    accepted = front.recipients()
    run.figure("addresses accepted", len(accepted))
    run.check(not accepted, f"nothing was accepted, but for {accepted[:5]}")
    run.check("Traceback" not in front.log, "the log has no traceback")


def _as_stranger(run: Run, front: FrontAlone) -> None:
    """All that a stranger learns of any address is that he is one, whether it is one or not."""
    answers = set()
    for form in (b"<" + _VICTIM + b">", b"<success@simulator.amazonses.com>", *_FORMS[:14]):
        with Talk(front.port, "127.0.0.9") as talk:
            talk.say(b"EHLO client.example.com")
            lines = (b"MAIL FROM:<app@example.com>", b"RCPT TO:" + form, b"DATA")
            replies = [talk.say(line)[:9] for line in lines]
            run.check(replies[1][0] in "45" and replies[2][0] in "45", f"a stranger is refused: {replies}")
            answers.add(" ".join(replies))
            run.check(talk.say(b"VRFY root")[:3] == talk.say(b"VRFY nobody")[:3], "VRFY tells nothing")
    run.figure("answers to a stranger's MAIL, RCPT and DATA", ", ".join(sorted(answers)))
    run.check(len(answers) == 1, f"a stranger is told the same of every address: {answers}")


def _as_client(run: Run, front: FrontAlone) -> None:
    improper = []
    for form in _FORMS:
        with Talk(front.port) as talk:
            reply = _rcpt(talk, form)
            if not _PROPER.fullmatch(reply):
                improper.append((form, reply))
            if b"\n" not in form:  # what follows the line break is a command of its own
                run.check(talk.say(b"DATA")[:1] in "45", f"no mail goes to {form!r}")
    run.figure("forms refused to a client", len(_FORMS) - len(improper))
    run.check(not improper, f"every form is refused with an enhanced code, but for {improper}")


def _rcpt(talk: Talk, form: bytes) -> str:
    talk.say(b"EHLO client.example.com")
    talk.say(b"MAIL FROM:<app@example.com>")
    return talk.say(b"RCPT TO:" + form)


def _by_nmap(run: Run, front: FrontAlone) -> None:
    """Its sixteen forms, from an address that may send nothing."""
    if shutil.which("nmap") is None:
        run.figure("nmap", "not installed")
        return
    given = "smtp-open-relay.domain=victim.test,smtp-open-relay.ip=127.0.0.1"
    command = ("nmap", "-n", "-Pn", "-S", "127.0.0.9", "-e", "lo", "-p", str(front.port))
    done = subprocess.run(
        [*command, "--script", "+smtp-open-relay", "--script-args", given, "127.0.0.1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"smtp-open-relay: (.*)", done.stdout)
    run.figure("nmap", found[1] if found else (done.stdout + done.stderr)[-200:])
    run.check(found is not None and bool(_CLOSED.search(found[1])), "nmap finds no open relay")
