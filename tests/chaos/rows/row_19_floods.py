"""Row 19: floods and slowloris. Thousands of connections that say nothing, or an octet now and then, keep nobody out.

Once they come as strangers, who have places of their own; once with the right to send, as the clients of a program
that has run wild do. They come from several addresses of the loopback, and the newcomer from another one.
"""

from __future__ import annotations

import resource
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

from tests.chaos.client import addresses
from tests.chaos.front_alone import MIB, FrontAlone, Talk
from tests.chaos.scenario import Run, Skipped, Tier, scenario
from tests.support.installation import mail
from tests.support.waiting import until

_IDLE = {Tier.STANDARD: 2_000, Tier.LONG: 2_000}
_DRIPPING = {Tier.STANDARD: 200, Tier.LONG: 200}
_SECONDS = {Tier.STANDARD: 25.0, Tier.LONG: 120.0}
_DESCRIPTORS = 1_024
_MOST_WAIT = 2.0  # seconds
_DRIP_EVERY = 10.0  # seconds
_AGAIN = 100  # connections a second
_NEWCOMER = "127.0.0.1"
_WILD = "127.0.9.1"


@scenario(
    "19",
    title="Floods: 2,000 idle and 200 dripping connections on a front with 1,024 descriptors, strangers and clients",
    passes="a newcomer is greeted within 2 s and its mail taken; the log grows by 1 MB a minute at most; no fd leaks",
    tiers={Tier.STANDARD: 85, Tier.LONG: 260},
)
def row_19(run: Run) -> None:
    _raise_own_limit(run)
    trusted = f"{_NEWCOMER},127.0.8.0/24,{_WILD}"
    front = run.stack.enter_context(
        FrontAlone(run.directory / "front", descriptors=_DESCRIPTORS, SESGATE_TRUSTED_NETWORKS=trusted)
    )
    _deliver(front, next(_NAMES))
    descriptors = front.program.num_fds()
    _flood(run, front, "strangers", tuple(f"127.0.7.{host}" for host in range(1, 100)))
    _flood(run, front, "clients", tuple(f"127.0.8.{host}" for host in range(1, 100)))
    _flood(run, front, "one client run wild", (_WILD,))
    until(lambda: front.program.num_fds() <= descriptors + 2, what="every descriptor is given back")
    run.figure("descriptors before and after", f"{descriptors}, {front.program.num_fds()}")
    run.figure("front RSS at most (MiB)", front.most_memory)
    run.check("Traceback" not in front.log and not front.has_ended, "the front lives, and has no traceback in its log")
    missing = sorted(set(_delivered) - set(front.recipients()))
    run.check(not missing, f"every mail that was acknowledged is there, but for {missing}")


_NAMES = addresses()
_delivered: list[str] = []


def _raise_own_limit(run: Run) -> None:
    wanted = _IDLE[run.tier] + _DRIPPING[run.tier] + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Skipped(f"root: only {hard} files may be open at once")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        run.stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))


def _flood(run: Run, front: FrontAlone, whose: str, sources: tuple[str, ...]) -> None:
    logged, began = front.log_file.stat().st_size, time.monotonic()
    with Flood(front.port, sources, _IDLE[run.tier], _DRIPPING[run.tier]) as flood:
        waits: list[float] = []
        until_ = began + _SECONDS[run.tier]
        while not waits or time.monotonic() < until_:
            waits.append(_deliver(front, next(_NAMES)))
            time.sleep(0.2)
        seconds = time.monotonic() - began
        grown = (front.log_file.stat().st_size - logged) / MIB
        run.say(f"{whose}: {flood.opened} connections, {flood.ended} ended by the front, {len(waits)} newcomers")
        run.figure(f"{whose}: connections opened, and ended by the front", f"{flood.opened}, {flood.ended}")
    run.figure(f"{whose}: newcomers, greeted after at most (s)", f"{len(waits)}, {max(waits):.3f}")
    run.figure(f"{whose}: log (MiB in {seconds:.0f} s)", grown)
    run.check(grown <= max(1.0, seconds / 60), f"the log grows by at most 1 MiB a minute, and grew by {grown:.2f}")
    run.check(max(waits) <= _MOST_WAIT, f"a newcomer among {whose} is greeted within 2 s")


def _deliver(front: FrontAlone, to: str) -> float:
    """A whole mail of the newcomer; the seconds until it was greeted."""
    with Talk(front.port, _NEWCOMER) as talk:
        assert talk.greeting.startswith("220 "), f"the newcomer is greeted with {talk.greeting!r}"
        talk.begin(to)
        reply = talk.say(mail("newcomer") + b".")
        assert reply.startswith("250 "), f"the newcomer's mail is answered {reply!r}"
    _delivered.append(to)
    return talk.greeted_after


class Flood:
    """Connections that are opened all at once, and whenever the front ends one another, up to `_AGAIN` a second."""

    def __init__(self, port: int, sources: tuple[str, ...], idle: int, dripping: int) -> None:
        self._port = port
        self._sources = sources
        self._idle = idle
        self._dripping = dripping
        self._selector = selectors.DefaultSelector()
        self._done = threading.Event()
        self._full = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flood")
        self.opened = 0
        self.ended = 0

    def __enter__(self) -> Self:
        self._thread.start()
        until(self._full.is_set, every=0.01, what="the flood is there")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        drip_at, began, first = 0.0, time.monotonic(), self._idle + self._dripping
        while not self._done.is_set():
            allowed = first + _AGAIN * (time.monotonic() - began)
            while self.opened < allowed and len(self._selector.get_map()) < first:
                self._open()
            self._full.set()
            self._drop_what_ended()
            if time.monotonic() >= drip_at:
                drip_at = time.monotonic() + _DRIP_EVERY
                self._drip()
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)
        self._selector.close()

    def _open(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)  # noqa: FBT003  the standard library's signature
        connection.bind((self._sources[self.opened % len(self._sources)], 0))
        connection.connect_ex(("127.0.0.1", self._port))
        self._selector.register(connection, selectors.EVENT_READ, self.opened % (self._idle + self._dripping))
        self.opened += 1

    def _drop_what_ended(self) -> None:
        for key, _ in self._selector.select(timeout=0.05):
            assert isinstance(key.fileobj, socket.socket)
            try:
                if key.fileobj.recv(4096):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            self.ended += 1
            self._close(key.fileobj)

    def _close(self, connection: object) -> None:
        assert isinstance(connection, socket.socket)
        self._selector.unregister(connection)
        connection.close()

    def _drip(self) -> None:
        for key in self._selector.get_map().values():
            assert isinstance(key.fileobj, socket.socket)
            if key.data < self._dripping:
                try:
                    key.fileobj.send(b"E")
                except OSError:
                    continue
