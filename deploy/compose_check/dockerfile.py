"""The Dockerfile: parsed as far as it uses the language, and checked against the tree that it copies from.

https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy.compose_check.outcome import NotReadableError

FILE = "Dockerfile"
_IGNORE = ".dockerignore"
_COPYING = {"ADD", "COPY"}
_NAMED_AT_BUILD = {"ARG", "FROM", "LABEL", "ONBUILD", "RUN", "SHELL"}
_NAMED_AT_RUN = {"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
_KNOWN = _COPYING | _NAMED_AT_BUILD | _NAMED_AT_RUN
_ROOT = {"root", "0", ""}


@dataclass(frozen=True)
class Instruction:
    """One instruction with its flags apart, continuation lines joined; `stage` counts the FROM before it."""

    name: str
    flags: tuple[str, ...]
    text: str
    stage: int

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of the exec form, or of the plain one. NotReadableError when a list is no JSON."""
        try:
            return tuple(json.loads(self.text)) if self.text.startswith("[") else tuple(shlex.split(self.text))
        except ValueError as error:
            raise NotReadableError(f"{FILE}: {self.name} {self.text} cannot be understood ({error}).") from None


@dataclass(frozen=True)
class Dockerfile:
    """All instructions, in order."""

    instructions: tuple[Instruction, ...]

    @property
    def final(self) -> tuple[Instruction, ...]:
        """Those of the last stage, which is what runs."""
        return tuple(each for each in self.instructions if each.stage == self.instructions[-1].stage)

    def last(self, name: str) -> Instruction | None:
        """The instruction of that name that is in force at the end."""
        return next((each for each in reversed(self.final) if each.name == name), None)

    @property
    def environment(self) -> dict[str, str]:
        pairs = (word.partition("=") for each in self.final if each.name == "ENV" for word in each.words)
        return {name: value for name, _, value in pairs}

    @property
    def command(self) -> tuple[str, ...]:
        command = self.last("CMD")
        return command.words if command else ()

    @property
    def health_command(self) -> tuple[str, ...]:
        check = self.last("HEALTHCHECK")
        return () if check is None else _exec_form(check.text.removeprefix("CMD").strip())

    @property
    def copied_files(self) -> dict[str, str]:
        """Where single files of the tree end up in the image."""
        copies = (each for each in self.final if each.name == "COPY" and not _from(each))
        return {each.words[-1]: each.words[0] for each in copies if PurePosixPath(each.words[0]).suffix}


def read_dockerfile(root: Path) -> Dockerfile:
    """NotReadableError when it is missing or does not begin as a Dockerfile does."""
    try:
        text = (root / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotReadableError(f"{FILE} cannot be read ({error}).") from None
    instructions = tuple(_instructions(text))
    if not any(each.name == "FROM" for each in instructions):
        raise NotReadableError(f"{FILE} has no FROM.")
    return Dockerfile(instructions)


def _instructions(text: str) -> Iterator[Instruction]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    stage = 0
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if not name:
            continue
        stage += name.upper() == "FROM"
        words = rest.split()
        flags = tuple(word for number, word in enumerate(words) if all(w.startswith("--") for w in words[: number + 1]))
        yield Instruction(name.upper(), flags, rest.strip() if not flags else " ".join(words[len(flags) :]), stage)


def _exec_form(text: str) -> tuple[str, ...]:
    try:
        return tuple(json.loads(text))
    except ValueError:
        return ()


def check_dockerfile(dockerfile: Dockerfile, root: Path) -> Iterator[str]:
    """Instructions are known, stages and sources exist, and what runs is not root."""
    for each in dockerfile.instructions:
        if each.name not in _KNOWN:
            yield f"{FILE}: {each.name} is no instruction."
    yield from _check_copies(dockerfile, root)
    user = dockerfile.last("USER")
    if user is None or user.text.partition(":")[0] in _ROOT:
        yield f"{FILE}: the image runs as root; set USER."
    for name in ("CMD", "HEALTHCHECK"):
        if dockerfile.last(name) is None:
            yield f"{FILE}: the last stage has no {name}."


def _check_copies(dockerfile: Dockerfile, root: Path) -> Iterator[str]:
    stages: set[str] = set()
    ignored = _ignored(root)
    for each in dockerfile.instructions:
        if each.name == "FROM":
            stages.update(re.findall(r"(?i)\sas\s+(\S+)$", each.text))
        elif each.name == "COPY" and (stage := _from(each)):
            if stage not in stages:
                yield f"{FILE}: COPY takes from the stage {stage}, which is not before it."
        elif each.name == "COPY":
            for source in each.words[:-1]:
                yield from _check_source(source, root, ignored)


def _check_source(source: str, root: Path, allowed: frozenset[str]) -> Iterator[str]:
    if not (root / source).exists():
        yield f"{FILE}: COPY takes {source}, which does not exist."
    elif not {source.rstrip("/"), *map(str, PurePosixPath(source).parents)} & allowed:
        yield f"{FILE}: COPY takes {source}, which {_IGNORE} keeps out; add !{source} there."


def _ignored(root: Path) -> frozenset[str]:
    """What .dockerignore lets in again. Ours shuts everything out first, which is asked for here."""
    try:
        lines = (root / _IGNORE).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NotReadableError(f"{_IGNORE} cannot be read ({error.strerror}).") from None
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if rules[:1] != ["*"]:
        raise NotReadableError(
            f"{_IGNORE} does not begin with *, so that secrets and data would be sent to the engine."
        )
    return frozenset(rule[1:].rstrip("/") for rule in rules if rule.startswith("!"))


def _from(copy: Instruction) -> str:
    return next((flag.removeprefix("--from=") for flag in copy.flags if flag.startswith("--from=")), "")
