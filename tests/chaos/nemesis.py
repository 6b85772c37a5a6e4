"""The nemesis: it kills, stops and ends programs at random, and counts what it did."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.chaos.book import Book
from tests.chaos.scenario import Run
from tests.support.by_hand import ByHand
from tests.support.installation import Installation
from tests.support.waiting import until

_LONGEST_HALT = 2.0


class Nemesis:
    """Deeds of one kind of installation, chosen at random. The seed is a figure: with it the choice can be repeated."""

    def __init__(self, run: Run) -> None:
        seed = random.randrange(1_000_000)
        run.figure("seed", seed)
        self._run = run
        self.chance = random.Random(seed)
        self.deeds: Counter[str] = Counter()

    def note(self, deed: str, victim: str) -> None:
        self.deeds[f"{deed} {victim}"] += 1
        self._run.say(f"{sum(self.deeds.values())}. {deed} {victim}")

    def figures(self) -> None:
        kills = sum(number for deed, number in self.deeds.items() if deed.startswith("kill"))
        self._run.figure("kills", kills)
        told = ", ".join(f"{deed} {number}" for deed, number in sorted(self.deeds.items()))
        self._run.figure("deeds", told)

    def halt(self, pid: int) -> None:
        """SIGSTOP, and SIGCONT after a while: what the program missed meanwhile comes back all at once."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.suspend()
            try:
                time.sleep(self.chance.uniform(0.2, _LONGEST_HALT))
            finally:
                process.resume()


class UpNemesis(Nemesis):
    """Against the children of `sesgate up --sandbox`, and theirs. The supervisor starts again what ended."""

    def __init__(self, run: Run, installation: Installation) -> None:
        super().__init__(run)
        self._installation = installation

    def strike(self) -> None:
        victim = self.chance.choice(self._installation.children())
        name = self._installation.name_of(victim) or "somebody"
        if self.chance.random() < 0.2:
            self.note("stop", name)
            self.halt(victim.pid)
        self.note("kill", name)
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        until(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE, what=f"{name} has ended")


class HandNemesis(Nemesis):
    """Against programs that were started by hand; it starts them again, as systemd would."""

    def __init__(self, run: Run, programs: ByHand, book: Book) -> None:
        super().__init__(run)
        self._programs = programs
        self._book = book

    def strike(self) -> None:
        deeds: list[Callable[[], None]] = [
            self.kill_one,
            self.kill_one,
            self.kill_dispatcher,
            lambda: None if self.kill_child() else self.kill_one(),
            self.kill_redis,
            self.end_one,
            self.halt_one,
        ]
        self.chance.choice(deeds)()

    def figures(self) -> None:
        super().figures()
        ended = [name for name in self._programs.running() if self._programs.has_ended(name)]
        self._run.check(not ended, f"no program ended by itself, but for {', '.join(ended)}")

    def kill_one(self, *among: str) -> None:
        """The program and all that it started."""
        self._kill(self.chance.choice(among or self._programs.running()))

    def kill_dispatcher(self) -> None:
        holder = self._book.holder()
        found = [name for name in self._programs.running() if self._programs.pid(name) == holder]
        self._kill(found[0] if found else self.chance.choice(self._programs.running()))

    def kill_child(self, of: str | None = None) -> bool:
        """One process of a prefork pool or of the webhook; its parent makes another. False when there is none."""
        names = [of] if of else self._programs.running()
        children = [(name, child) for name in names for child in self._children(name)]
        if not children:
            return False
        name, child = self.chance.choice(children)
        self.note("kill child of", name)
        with suppress(psutil.NoSuchProcess):
            child.kill()
        return True

    def kill_redis(self) -> None:
        self.note("kill", "redis")
        self._programs.redis.kill()
        self._programs.redis.start()

    def end_one(self) -> None:
        name = self.chance.choice(self._programs.running())
        self.note("end", name)
        code = self._programs.stop(name)
        self._run.check(code == 0, f"{name} ended with exit code {code} when it was asked to end")
        self._programs.again(name)

    def halt_one(self) -> None:
        name = self.chance.choice(self._programs.running())
        self.note("stop", name)
        self.halt(self._programs.pid(name))

    def _kill(self, name: str) -> None:
        self.note("kill", name)
        self._programs.kill(name)
        self._programs.again(name)

    def _children(self, name: str) -> list[psutil.Process]:
        try:
            found = psutil.Process(self._programs.pid(name)).children(recursive=True)
            return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            return []


def signal_group(pid: int, number: signal.Signals) -> None:
    """To a program and all that it started."""
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
