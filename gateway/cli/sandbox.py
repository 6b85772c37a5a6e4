"""`sesgate sandbox`: the simulated AWS."""

from __future__ import annotations

from http.client import HTTPException

import click

from gateway.cli.context import load_settings
from gateway.cli.data_directory import prepare
from gateway.cli.errors import CommandError
from gateway.cli.help import example
from gateway.cli.network import answers, reachable
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.environment import child_environment, render_exports
from gateway.setting_values import HostPort
from gateway.settings import Settings


@click.group(invoke_without_command=True, epilog=example("sesgate sandbox"))
@click.pass_context
def command(context: click.Context) -> None:
    """Run the simulated AWS in the foreground, on SESGATE_SANDBOX_LISTEN.

    `sesgate up --sandbox` runs it together with everything else.
    """
    if context.invoked_subcommand is None:
        context.invoke(run)


@command.command(epilog=example("sesgate sandbox run"))
def run() -> None:
    """Run the simulated AWS; the same as `sesgate sandbox` alone."""
    settings = load_settings()
    prepare(settings.data_dir)
    _serve(_config(settings))


def _serve(config: SandboxConfig) -> None:
    try:
        from gateway.sandbox.server import serve  # noqa: PLC0415  what it needs is an extra that may be missing
    except ModuleNotFoundError as error:
        raise CommandError(
            f"The simulated AWS needs {error.name}, which is not installed; install sesgate[sandbox]."
        ) from None
    serve(config)


def _config(settings: Settings) -> SandboxConfig:
    return SandboxConfig(
        host=settings.sandbox_listen.host,
        port=settings.sandbox_listen.port,
        directory=settings.sandbox_directory,
        webhook_url=f"http://{reachable(settings.webhook_listen)}/sns",
        feedback_queue_url=None if settings.feedback_queue_url is None else settings.feedback_queue_url.url,
    )


@command.command(epilog=example('eval "$(sesgate sandbox env)"'))
def env() -> None:
    """Print the exports that point a shell at the running sandbox."""
    address = load_settings().sandbox_listen
    if not _is_running(address):
        raise CommandError(
            f"No sandbox answers on {address}; start one with `sesgate up --sandbox`,"
            " or set SESGATE_SANDBOX_LISTEN to where it is."
        )
    click.echo(render_exports(child_environment(f"http://{reachable(address)}")), nl=False)


def _is_running(address: HostPort) -> bool:
    try:
        return answers(address, "/_sandbox/healthz")
    except (OSError, HTTPException):
        return False
