"""Row 3: a program is killed at each of its system calls that change or tell something, one after the other.

Accepting: the front, at its writes to the log and to the client, and at its syncs. Moving the log: the front's
checkpointer, at its writes to the database file. Sending: the worker, at its writes, its syncs and what it says to SES
and to Redis. Calls that a path never makes are tried, too, and end at the first point. `_accepting` and `_sending` say
what is stepped over.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.client import Client, addresses
from tests.chaos.conclusion import settle
from tests.chaos.ledger import Answer
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import THREADS, Site, build
from tests.chaos.syscalls import Strace, kill, need_strace
from tests.chaos.whole import check_whole
from tests.support.installation import mail
from tests.support.waiting import until

_LEASE = 8
_LARGE = 9_000_000  # octets; more than the length of the log at which it is moved
_MAILS = 2
_NAMES = addresses()  # one series, so that no two mails of a run have the same address
_DATABASE, _LOG = "sesgate.db", "sesgate.db-wal"


@dataclass(frozen=True)
class Points:
    """The points of one call in one program: every `step`-th, from the first until a round does not reach it.

    With `growing` the distance grows: there are thousands, and all alike. `file`: only calls on that one. A round is
    over when `is_over`, which is given the names of the mails that `play` handed in.
    """

    program: str
    call: str
    play: Callable[[Site], list[str]]
    is_over: Callable[[Site, Strace, list[str]], bool]
    step: int = 1
    growing: bool = False
    file: str = ""

    @property
    def where(self) -> str:
        return f"{self.program}, {self.call}{' of ' + self.file if self.file else ''}"

    def after(self, point: int) -> int:
        return point * 2 + self.step if self.growing else point + self.step


def _small(site: Site) -> list[str]:
    """Some mails, one after the other, on one connection."""
    client = Client(site.programs.smtp_port, site.ledger, mails_per_connection=_MAILS)
    names = [name for _, name in zip(range(_MAILS), _NAMES, strict=False)]
    for name in names:
        client.hand_in(name)
    client.quit()
    return names


def _large(site: Site) -> list[str]:
    """One mail, after which the log is moved into the database file."""
    name = next(_NAMES)
    site.ledger.begin(name)
    answer = Answer.UNANSWERED
    try:
        with smtplib.SMTP("127.0.0.1", site.programs.smtp_port, timeout=60) as client:
            client.sendmail("app@example.com", name, mail(name, (b"x" * 76 + b"\r\n") * (_LARGE // 78)))
            answer = Answer.ACKNOWLEDGED
    except (OSError, smtplib.SMTPException):
        pass
    site.ledger.end(name, answer)
    return [name]


def _is_answered(_site: Site, _strace: Strace, _names: list[str]) -> bool:
    """Handing in is over when there was an answer."""
    return True


def _is_moved(site: Site, strace: Strace, _names: list[str]) -> bool:
    """The database file is synced at the very end of moving the log.

    Moving begins with a commit, but for those shortly after it was moved before; so each look makes another one.
    """
    database = str(site.programs.directory / _DATABASE)
    if any(call.name == "fdatasync" and call.path == database for call in strace.calls()):
        return True
    Client(site.programs.smtp_port, site.ledger).hand_in(next(_NAMES))
    return False


def _are_sent(site: Site, _strace: Strace, names: list[str]) -> bool:
    statuses = site.book.statuses()
    return all(statuses.get(name, "QUEUED") not in {"QUEUED", "SENDING", "AMBIGUOUS"} for name in names)


def _accepting(tier: Tier) -> tuple[Points, ...]:
    step = 1 if tier is Tier.LONG else 2
    return (
        Points("smtp", "pwrite64", _small, _is_answered, step=step, file=_LOG),
        Points("smtp", "fdatasync", _small, _is_answered),
        Points("smtp", "write", _small, _is_answered),
        *(Points("smtp", call, _small, _is_answered) for call in ("fsync", "rename", "sendto")),
        Points("smtp", "pwrite64", _large, _is_moved, growing=True, file=_DATABASE),
        Points("smtp", "fdatasync", _large, _is_moved, file=_DATABASE),
    )


def _sending(tier: Tier) -> tuple[Points, ...]:
    """A worker takes seconds to start, and each transaction has about a dozen writes."""
    syncs, sends, writes = (1, 1, 1) if tier is Tier.LONG else (2, 3, 17)
    return (
        Points("worker1", "fdatasync", _small, _are_sent, step=syncs),
        Points("worker1", "sendto", _small, _are_sent, step=sends),
        Points("worker1", "pwrite64", _small, _are_sent, step=writes, file=_LOG),
        *(Points("worker1", call, _small, _are_sent) for call in ("fsync", "rename")),
    )


@scenario(
    "3",
    title="Every crash point: killed at the Nth write, sync and send, on the way in and on the way out",
    passes=f"L = 0; D = 0, for events carry the attempt id; no half message; nothing under way after {_LEASE} + 30 s",
    tiers={Tier.STANDARD: 330, Tier.LONG: 2_400},
)
def row_03(run: Run) -> None:
    need_strace()
    site = build(
        run,
        SESGATE_CLAIM_LEASE=f"{_LEASE}s",
        SESGATE_DISPATCH_TIMEOUT="1s",
        SESGATE_DISPATCHER_LEASE="1s",
        SESGATE_AMBIGUOUS_WAIT="5s",
    )
    site.programs.smtp()
    kills = sum(_kill_at_each(site, points) for points in _accepting(run.tier))
    with site.programs.together():
        site.programs.worker("worker1", *THREADS)
        site.programs.webhook()
    settle(run, site.book, 60)
    kills += sum(_kill_at_each(site, points) for points in _sending(run.tier))
    run.figure("kills", kills)
    settle(run, site.book, _LEASE + 30, also=("AMBIGUOUS",))
    check_whole(run, site.book)
    site.conclude()


def _kill_at_each(site: Site, points: Points) -> int:
    """How many points there are; the first one that was not reached is the end."""
    reached, point = [], 1
    while _is_killed_at(site, points, point):
        reached.append(point)
        site.programs.stop(points.program)  # it has ended; nobody knows yet
        site.programs.again(points.program)
        point = points.after(point)
    at = ", ".join(map(str, reached)) or "none, for it is never called"
    site.run.say(f"{points.where}: killed at {at}")
    site.run.figure(f"points of {points.where}", len(reached))
    return len(reached)


def _is_killed_at(site: Site, points: Points, point: int) -> bool:
    programs = site.programs
    files: list[Path] = [programs.directory / points.file] if points.file else []
    log = site.run.directory / "strace"
    tampering = kill(points.call, str(point))
    with Strace(programs.pid(points.program), log, tampering, calls=("fdatasync",), paths=files) as strace:
        names = points.play(site)
        until(
            lambda: programs.has_ended(points.program) or points.is_over(site, strace, names),
            seconds=_LEASE + 30,
            what=f"{points.program} is killed at {points.call} {point}, or the round is over",
        )
    return programs.has_ended(points.program)  # now that nothing kills it any more
