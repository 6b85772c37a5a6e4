"""Row 18: what one client sends takes neither the memory nor the time that the others need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Self

from tests.chaos.client import addresses
from tests.chaos.front_alone import MIB, FrontAlone, Talk
from tests.chaos.scenario import Run, Tier, scenario
from tests.support.installation import mail

_MOST_MEMORY = 400  # MiB
_MOST_WAIT = 0.5  # seconds, the 99th percentile
_BLOCK = b"A" * MIB
_LINES = b"\r\n" * (MIB // 2)
_TEXT = (b"x" * 70 + b"\r\n") * 14_000
_LARGE = {Tier.SHORT: 0, Tier.STANDARD: 20, Tier.LONG: 20}

Attack = Callable[[FrontAlone], str]
"""Done by one abuser; its last reply."""


@scenario(
    "18",
    title="Bounds: 1 GB without a line end, 31 MB of line ends, 10^5 header fields and NOOPs, BDAT, HTTP, 20 x 25 MB",
    passes="front RSS <= 400 MB; another client's NOOP p99 <= 500 ms; the abuser gets 552 or 421 and is closed",
    tiers={Tier.SHORT: 5, Tier.STANDARD: 60, Tier.LONG: 60},
)
def row_18(run: Run) -> None:
    front = run.stack.enter_context(FrontAlone(run.directory / "front"))
    for name, attack, answer in _ATTACKS:
        with Neighbour(front.port) as neighbour:
            reply = attack(front)
        _tell(run, name, neighbour, front)
        run.check(reply.startswith(answer), f"{name} is answered {answer}, and was answered {reply!r}")
    accepted = front.recipients()
    run.check(accepted == [_ACCEPTED], f"of all these only the mail of empty lines is taken, and {accepted} are")
    if _LARGE[run.tier]:
        _many_large(run, front, _LARGE[run.tier])
    run.figure("front RSS at most (MiB)", front.most_memory)
    run.check(front.most_memory <= _MOST_MEMORY, f"the front takes at most {_MOST_MEMORY} MiB")
    run.check("Traceback" not in front.log and not front.has_ended, "the front lives, and has no traceback in its log")


def _tell(run: Run, name: str, neighbour: Neighbour, front: FrontAlone) -> None:
    run.say(
        f"{name}: {len(neighbour.waits)} NOOPs, p99 {neighbour.usual_wait * 1000:.0f} ms, {front.most_memory:.0f} MiB"
    )
    run.figure(f"NOOP p99 during {name} (ms)", round(neighbour.usual_wait * 1000))
    run.check(not neighbour.failed, f"the neighbour is served during {name}")
    if run.tier is not Tier.SHORT:  # a test of CI decides nothing by time
        run.check(neighbour.usual_wait <= _MOST_WAIT, f"the neighbour's NOOP takes at most 500 ms during {name}")


class Neighbour:
    """A client that does nothing wrong: it says NOOP, and comes anew before it has said that too often."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neighbour")
        self.waits: list[float] = []
        self.failed = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def usual_wait(self) -> float:
        waits = sorted(self.waits)
        return waits[int(0.99 * (len(waits) - 1))] if waits else float("inf")

    def _run(self) -> None:
        while True:
            with Talk(self._port) as talk:
                for _ in range(90):
                    began = time.monotonic()
                    self.failed |= not talk.say(b"NOOP").startswith("250")
                    self.waits.append(time.monotonic() - began)
                    if self._done.wait(0.005):
                        return


_ACCEPTED = next(addresses())


def _without_a_line_end(front: FrontAlone) -> str:
    with Talk(front.port) as talk:
        talk.begin("nobody@example.net")
        talk.pour(_BLOCK, 1024)
        return talk.last_reply()


def _line_ends(front: FrontAlone, mebibytes: int, to: str) -> str:
    with Talk(front.port, timeout=120) as talk:
        talk.begin(to)
        talk.socket.sendall(mail("lines"))
        talk.pour(_LINES, mebibytes)
        return talk.say(b".")


def _header_fields(front: FrontAlone) -> str:
    with Talk(front.port) as talk:
        talk.begin("nobody@example.net")
        talk.socket.sendall(b"X-Bomb: 1\r\n" * 100_000)
        return talk.say(mail("bomb") + b".")


def _noops(front: FrontAlone) -> str:
    with Talk(front.port) as talk:
        talk.pour(b"NOOP\r\n" * 1_000, 100)
        return talk.last_reply()


def _foreign(line: bytes) -> Attack:
    def attack(front: FrontAlone) -> str:
        with Talk(front.port) as talk:
            talk.say(b"EHLO client.example.com")
            talk.pour(line + b"\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n", 1)
            talk.pour(mail("smuggled") + b".\r\n", 1)
            return talk.last_reply()

    return attack


_ATTACKS: tuple[tuple[str, Attack, str], ...] = (
    ("1 GB without a line end", _without_a_line_end, "552 5.3.4"),
    ("31 MB of line ends", lambda front: _line_ends(front, 31, "nobody@example.net"), "552 5.3.4"),
    ("27 MB of line ends", lambda front: _line_ends(front, 27, _ACCEPTED), "250 2.0.0"),
    ("10^5 header fields", _header_fields, "550 5.6.0"),
    ("10^5 NOOPs", _noops, "421 4.7.0"),
    ("BDAT", _foreign(b"BDAT 80 LAST"), "421 4.7.0"),
    ("an HTTP POST", _foreign(b"POST / HTTP/1.1\r\nHost: x\r\n"), "421 4.7.0"),
)


def _many_large(run: Run, front: FrontAlone, clients: int) -> None:
    """All at once; who is told to come later does so, as a mail server would."""
    wanted = list(islice(addresses(), clients))
    before = len(front.recipients())
    began = time.monotonic()
    with Neighbour(front.port) as neighbour, ThreadPoolExecutor(clients) as pool:
        attempts = sum(pool.map(lambda to: _hand_in(front, to), wanted))
    name = f"{clients} x 25 MB at once"
    _tell(run, name, neighbour, front)
    run.figure(f"{name} (s)", round(time.monotonic() - began, 1))
    run.figure(f"{name}, told to come later", attempts - clients)
    accepted = front.recipients()[before:]
    run.check(sorted(accepted) == sorted(wanted), f"each of the {clients} is accepted once, and {len(accepted)} are")


def _hand_in(front: FrontAlone, to: str) -> int:
    """Until it is taken; how often it had to be tried."""
    for attempt in range(1, 20):
        with Talk(front.port, timeout=300) as talk:
            talk.begin(to)
            talk.socket.sendall(mail("large"))
            talk.pour(_TEXT, 25)
            reply = talk.say(b".")
        if reply.startswith("250"):
            return attempt
        assert reply[:1] == "4", f"large content is answered {reply!r}"
    raise AssertionError("it is told to come later for ever")
