"""The `sesgate` command."""

from __future__ import annotations

import errno
import importlib
from importlib.metadata import version
from typing import Any

import click

from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.settings import SettingsError
from gateway.store.errors import StoreError

# Where each command is, and what the list of commands says about it. A command is loaded only when it is asked for:
# showing a suppression needs neither boto3 nor the supervisor.
_COMMANDS = {
    "init": ("gateway.cli.init", "Set the gateway up: five questions, .env, the AWS account."),
    "up": ("gateway.cli.up.command", "Run everything on this machine in the foreground."),
    "smtp": ("gateway.cli.smtp", "Run the SMTP front."),
    "webhook": ("gateway.cli.webhook", "Run the webhook that takes what SES reports."),
    "feedback-queue": ("gateway.cli.feedback_queue", "Run the SQS consumer, the way without a public endpoint."),
    "admin": ("gateway.cli.admin", "Run the operator's metrics endpoint."),
    "sandbox": ("gateway.cli.sandbox", "Run the simulated AWS, or point a shell at it."),
    "doctor": ("gateway.cli.doctor", "Look at every link, and say what is broken and how to mend it."),
    "prove": ("gateway.cli.prove", "Prove the whole loop with SES's mailbox simulator."),
    "provision": ("gateway.cli.provision", "Wire the AWS account, so that what SES reports arrives here."),
    "migrate": ("gateway.cli.migrate", "Create or upgrade the database schema."),
    "settings": ("gateway.cli.settings", "Show every setting in force and where it came from."),
    "credentials": ("gateway.cli.credentials", "See and change who may send, and what each may."),
    "suppressions": ("gateway.cli.suppressions", "See and change which addresses are not mailed."),
    "messages": ("gateway.cli.messages", "See what became of accepted messages; retry or cancel them."),
    "feedback": ("gateway.cli.feedback", "See what SES reported, and have it processed again."),
    "why": ("gateway.cli.why", "Tell why somebody did not get mail, and whether mail to them would be sent."),
    "queue": ("gateway.cli.queue", "See what waits for sending; pause and resume it."),
    "backup": ("gateway.cli.backup", "Copy the database while everything runs."),
    "restored": ("gateway.cli.restored", "Pause sending on a database that came from a backup."),
    "erase": ("gateway.cli.erase", "Remove one person's address from everything that is stored."),
}


class Sesgate(click.Group):
    """Loads commands when they are needed, and turns what they raise into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{_COMMANDS[cmd_name][0]}.command is no click command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """UsageError when an argument is no text: no database takes it, and no terminal shows it."""
        for argument in args:
            if not _is_text(argument):
                raise UsageError(f"{argument!r} is not UTF-8 text.")
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise UsageError(str(error)) from error
        except StoreError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # Click ends silently: whoever read the output has seen enough.
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise CommandError(f"{where}{error.strerror or error}.") from error


def _is_text(argument: str) -> bool:
    """Octets that are not UTF-8 become surrogates (PEP 383)."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


@click.group(
    cls=Sesgate,
    epilog=example("sesgate up --sandbox"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("sesgate"), prog_name="sesgate")
def cli() -> None:
    """A mail gateway between applications that speak SMTP and Amazon SES.

    Try it without an AWS account with `sesgate up --sandbox`.

    Settings come from SESGATE_* in the environment and from .env in the working directory.
    """


def main() -> None:
    """The entry point."""
    cli(prog_name="sesgate")


if __name__ == "__main__":
    main()
