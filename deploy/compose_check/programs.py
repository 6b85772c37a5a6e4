"""Whether every command line of ours is one that its program understands, by that program's own parser."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence

import click
from celery.bin.base import CLIContext
from celery.bin.celery import celery

from deploy.compose.probe import is_known
from deploy.compose_check.composefile import FILE, Compose
from deploy.compose_check.dockerfile import FILE as DOCKERFILE
from deploy.compose_check.dockerfile import Dockerfile
from gateway.broker import make_app
from gateway.cli.main import cli

_PROBE = "probe.py"


def check_commands(compose: Compose, dockerfile: Dockerfile) -> Iterator[str]:
    """The commands and health checks of the services that run our image, and of the image itself."""
    files = dockerfile.copied_files
    yield from _check(f"{DOCKERFILE}: CMD", dockerfile.command)
    yield from _check_health(f"{DOCKERFILE}: HEALTHCHECK", dockerfile.health_command, files)
    for service in compose.services.values():
        if not service.is_ours:
            continue
        where = f"{FILE}: {service.name}"
        yield from _check(where, service.command or dockerfile.command)
        if service.has_health_check:
            yield from _check_health(f"{where}'s health check", service.health_command, files)


def _check(where: str, words: Sequence[str]) -> Iterator[str]:
    try:
        _parse(words)
    except click.ClickException as error:
        yield f"{where}: `{' '.join(words)}` is no command: {error.format_message()}"


def _parse(words: Sequence[str]) -> None:
    """click.ClickException when the program would refuse these words."""
    program, *arguments = words or ("",)
    if program == "sesgate":
        _walk(cli, program, arguments, None)
    elif program == "celery":
        _walk(celery, program, arguments, CLIContext(app=make_app(""), no_color=True, workdir=None, quiet=True))
    else:
        raise click.UsageError("only sesgate and celery are started in our containers.")


def _walk(group: click.Group, program: str, arguments: list[str], obj: object) -> None:
    """Parse level by level, as a call would, and run nothing."""
    command: click.Command = group
    name, context = program, click.Context(group, info_name=program, obj=obj)
    while isinstance(command, click.Group):
        options, rest, _ = command.make_parser(context).parse_args(args=arguments)
        _check_app(options)
        if not rest and command.invoke_without_command:
            return
        if not rest:
            raise click.UsageError("it lacks a command.")
        _, found, arguments = command.resolve_command(context, rest)
        assert found is not None  # noqa: S101  resolve_command raises a UsageError instead
        name, command, parent = rest[0], found, context
        context = click.Context(command, info_name=name, parent=parent)
    command.make_context(name, arguments, parent=context.parent)


def _check_app(options: Mapping[str, object]) -> None:
    app = options.get("app")
    if app is None:
        return
    try:
        found = importlib.util.find_spec(f"{app}.celery")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise click.UsageError(f"there is no module {app}.celery.")


def _check_health(where: str, words: Sequence[str], files: Mapping[str, str]) -> Iterator[str]:
    program, script, *arguments = (*words, "", "")[: max(2, len(words))]
    if program != "python" or not files.get(script, "").endswith(_PROBE):
        yield f"{where}: `{' '.join(words)}` does not call the {_PROBE} that {DOCKERFILE} puts into the image."
    elif not is_known(arguments):
        yield f"{where}: `{' '.join(words)}` is no probe that {_PROBE} knows."
