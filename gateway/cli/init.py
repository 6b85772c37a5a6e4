"""`sesgate init`: five questions, a `.env`, and then the account is wired and looked at."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

import click

from gateway import env_file
from gateway.cli.env_files import set_variables, text_of
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.init_answers import (
    QUEUE,
    Answers,
    environment_of,
    parse_environment,
    parse_networks,
    parse_region,
    parse_reports,
    parse_sender,
    sender_to_prove_with,
)
from gateway.cli.network import answers as answers_to
from gateway.settings import read_settings
from gateway.sns_endpoints import masked_endpoint
from gateway.store.schema import stamp_of_environment

T = TypeVar("T")

_IAM_POLICY = "sesgate-iam-policy.json"  # beside the file of variables


@dataclass(frozen=True, slots=True)
class _Question:
    """A question, the option that answers it, and what is taken when nothing is typed."""

    text: str
    option: str
    default: str | None = None


@click.command(
    epilog=example(
        "sesgate init",
        "sesgate init --region eu-west-1 --environment production --sender example.com \\",
        "    --networks 10.0.0.0/8 --reports https://mail.example.com/sns --yes",
    )
)
@click.option("--region", metavar="REGION", help="The AWS region of SES.")
@click.option("--environment", metavar="NAME", help="What this set-up is called in AWS: production, staging.")
@click.option("--sender", metavar="ADDRESS|DOMAIN", help="What your applications send from; SES must have verified it.")
@click.option("--networks", metavar="NETWORKS", help="Who may send without a password, beside this machine.")
@click.option("--reports", metavar="URL|queue", help="Where SES's reports go: the public URL of /sns, or an SQS queue.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".env"),
    show_default=True,
    help="The file to write; what else stands in it stays.",
)
@click.option("--provision/--no-provision", "provisions", default=None, help="Wire the AWS account, without asking.")
@click.option("--yes", is_flag=True, help="Ask nothing: defaults for what no option says, and everything is done.")
def command(path: Path, provisions: bool | None, yes: bool, **given: str | None) -> None:
    """Set the gateway up: ask five questions, write .env, wire the AWS account, and look whether all is well.

    It may be run again at any time. Credentials of AWS are not asked for: they are found where every AWS program finds
    them (a role, a profile, variables).
    """
    ask = _Asker(asks=not yes and sys.stdin.isatty())
    answers = _ask_all(ask, {**env_file.read(text_of(path)), **os.environ}, given)
    _write(path, answers.variables())
    _warn_of_overruled(answers.variables())
    _run("migrate", path)
    wants = provisions if provisions is not None else ask.confirm("Wire the AWS account now (sesgate provision)?")
    arguments = (*answers.provision_arguments(), "--env-file", path.name, "--iam-policy", _IAM_POLICY)
    if wants:
        _run("provision", path, *arguments, *_without_waiting(answers, path, ask))
    else:
        click.echo(f"Later: sesgate provision {_shown(arguments)}")
    click.echo(f"When everything runs: sesgate prove --from {sender_to_prove_with(answers.sender)}")
    if _ended_badly("doctor", path):
        click.echo("Mend what doctor has found; it may be asked again at any time.", err=True)


def _ask_all(ask: _Asker, known: Mapping[str, str], given: Mapping[str, str | None]) -> Answers:
    """The five answers; what was answered before and stands in `known` is offered again."""
    may_be_plain = stamp_of_environment(known) == "sandbox"
    return Answers(
        region=ask(_Question("AWS region of SES", "--region", _region_of(known)), given["region"], parse_region),
        environment=ask(
            _Question("Name of this environment", "--environment", environment_of(known)),
            given["environment"],
            parse_environment,
        ),
        sender=ask(
            _Question("Address or domain your applications send from (verified in SES)", "--sender"),
            given["sender"],
            parse_sender,
        ),
        networks=ask(
            _Question(
                "Networks that may send without a password, beside this machine (empty: none)",
                "--networks",
                _networks_of(known),
            ),
            given["networks"],
            parse_networks,
        ),
        reports=ask(
            _Question(f"Public URL of this gateway's /sns, or `{QUEUE}` if it has none", "--reports", QUEUE),
            given["reports"],
            lambda text: parse_reports(text, may_be_plain=may_be_plain),
        ),
    )


def _without_waiting(answers: Answers, path: Path, ask: _Asker) -> tuple[str, ...]:
    """Only a webhook that runs can confirm its subscription, and a new installation does not run yet."""
    if answers.reports == QUEUE or _webhook_answers(path):
        return ()
    if ask.waits("Start `sesgate up` in another terminal now, so that the webhook can confirm; then press Enter"):
        return ()
    click.echo("The webhook does not run, so it cannot confirm yet: start it, and run the provision command again.")
    return ("--no-wait",)


def _webhook_answers(path: Path) -> bool:
    known = {**os.environ, **env_file.read(text_of(path))}
    settings = read_settings({name: value for name, value in known.items() if name.startswith("SESGATE_")})
    try:
        return answers_to(settings.webhook_listen, "/healthz")
    except (OSError, HTTPException):
        return False


class _Asker:
    """Takes an answer from its option, else from the person, else the default."""

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks

    def __call__(self, question: _Question, given: str | None, parse: Callable[[str], T]) -> T:
        if given is not None or not self._asks:
            return _parsed(question, question.default if given is None else given, parse)
        while True:
            text = click.prompt(question.text, default=question.default, err=True)
            try:
                return parse(text)
            except ValueError as error:
                click.echo(f"{error}.", err=True)

    def confirm(self, text: str) -> bool:
        return click.confirm(text, default=True, err=True) if self._asks else True

    def waits(self, text: str) -> bool:
        """Whether somebody was there to do it."""
        if self._asks:
            click.prompt(text, default="", show_default=False, prompt_suffix=" ", err=True)
        return self._asks


def _parsed(question: _Question, text: str | None, parse: Callable[[str], T]) -> T:
    if text is None:
        raise UsageError(f"{question.option} is missing, and nobody can be asked here: {question.text}.")
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{question.option}: {error}.") from None


def _region_of(known: Mapping[str, str]) -> str | None:
    return known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION") or None


def _networks_of(known: Mapping[str, str]) -> str:
    return known.get("SESGATE_TRUSTED_NETWORKS", "")


def _write(path: Path, variables: dict[str, str]) -> None:
    """Write the file and say what is in it; SettingsError before, when what would stand there then is wrong."""
    values = env_file.read(env_file.with_variables(text_of(path), variables))
    read_settings({name: value for name, value in values.items() if name.startswith("SESGATE_")})
    if not set_variables(path, variables):
        click.echo(f"{path} has all of it already.")
        return
    click.echo(f"{path} is written:")
    for name, value in variables.items():
        click.echo(f"  {name}={value}")


def _warn_of_overruled(variables: Mapping[str, str]) -> None:
    """Programs that are started here later take from the environment what is there, and not from the file."""
    names = [name for name, value in variables.items() if os.environ.get(name, value) != value]
    if names:
        click.echo(
            f"Warning: {', '.join(names)}: the environment has something else, which goes before the file;"
            " `unset` it where the gateway is started.",
            err=True,
        )


def _shown(arguments: Iterable[str]) -> str:
    """As they are typed, but for a password in the webhook's URL."""
    return shlex.join(masked_endpoint(each) if "://" in each else each for each in arguments)


def _run(name: str, path: Path, *arguments: str) -> None:
    """CommandError when the command fails."""
    if _ended_badly(name, path, *arguments):
        raise CommandError(f"sesgate {name} did not end well; {path} stays as it was written. Run init again any time.")


def _ended_badly(name: str, path: Path, *arguments: str) -> bool:
    """Run one of our own commands in a program of its own, which reads the new file."""
    written = env_file.read(text_of(path))
    # What the file says now counts, whatever was in the environment when init began.
    environ = {**os.environ, **written}
    click.echo(f"\n$ sesgate {_shown((name, *arguments))}")
    sys.stdout.flush()
    argv = (sys.executable, "-m", "gateway.cli", name, *arguments)
    return subprocess.run(argv, cwd=path.absolute().parent, env=environ, check=False).returncode != 0
