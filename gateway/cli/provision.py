"""`sesgate provision`: wires the AWS account, so that what SES reports reaches this gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.apply import ApplyError
from gateway.aws.provisioning.found import Reader, caller
from gateway.aws.provisioning.iam import Subject, policies
from gateway.aws.provisioning.options import Options, OptionsError
from gateway.aws.provisioning.terraform import terraform
from gateway.aws.session import clients
from gateway.cli import provision_destroy
from gateway.cli.aws_stamp import require_one_aws
from gateway.cli.context import load_settings, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import show_json
from gateway.cli.provision_run import How, Run, list_identities, sending
from gateway.cli.provision_screen import show_place
from gateway.setting_values import parse_duration
from gateway.settings import Settings
from gateway.store.schema import stamp_of_environment


@click.command(
    epilog=example(
        "sesgate provision --webhook-url https://mail.example.com/sns --dry-run",
        "sesgate provision --queue",
        "sesgate provision --destroy",
    )
)
@click.option("--webhook-url", metavar="URL", help="Where SNS reaches `sesgate webhook`: https://mail.example.com/sns.")
@click.option("--queue", is_flag=True, help="Make an SQS queue, which `sesgate feedback-queue` empties.")
@click.option("--name", default="sesgate", show_default=True, help="What everything is called after.")
@click.option("--environment", default="production", show_default=True, help="The second part of the name.")
@click.option("--classic", is_flag=True, help="Wire identities instead of a configuration set (the weaker mode).")
@click.option("--identity", "identities", metavar="NAME", multiple=True, help="With --classic: a domain or address.")
@click.option(
    "--opens-and-clicks", is_flag=True, help="Report opens and clicks, too: SES then changes links and adds an image."
)
@click.option("--adopt", is_flag=True, help="Take over what has these names and is not ours.")
@click.option("--dry-run", is_flag=True, help="Show the plan as a diff and change nothing.")
@click.option(
    "--output",
    type=click.Choice(["terraform", "json", "iam"]),
    help="Print instead of doing: Terraform, the plan as JSON, or the IAM policies (also of whoever runs this).",
)
@click.option(
    "--iam-policy", type=click.Path(dir_okay=False, path_type=Path), help="Write the gateway's IAM policy to this file."
)
@click.option(
    "--env-file", type=click.Path(dir_okay=False, path_type=Path), help="Set the lines for .env in this file."
)
@click.option("--destroy", is_flag=True, help="Remove what carries our tag, after listing it.")
@click.option("--yes", is_flag=True, help="With --destroy: do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the webhook has confirmed.")
@click.option("--timeout", metavar="TIME", default="120s", show_default=True, help="How long to wait for that.")
def command(
    webhook_url: str | None,
    queue: bool,
    name: str,
    environment: str,
    classic: bool,
    identities: tuple[str, ...],
    opens_and_clicks: bool,
    adopt: bool,
    dry_run: bool,
    output: str | None,
    iam_policy: Path | None,
    env_file: Path | None,
    destroy: bool,
    yes: bool,
    no_wait: bool,
    timeout: str,
) -> None:
    """Wire the AWS account, so that what SES reports about each mail reaches this gateway.

    It makes a configuration set, an SNS topic, and what delivers to this gateway: a subscription of the webhook, an SQS
    queue, or both. What is there already is changed where it differs, so it can be run again at any time. Everything
    carries the tag sesgate:provisioned; nothing without it is touched unless --adopt says so.
    """
    settings = load_settings()
    if destroy:
        if output is not None:
            raise UsageError("--destroy prints what it removes; leave --output out, or add --dry-run.")
        asked = provision_destroy.Asked(name, environment, webhook_url, dry_run=dry_run, yes=yes)
        with _spoken():
            provision_destroy.run(settings, asked)
        return
    with _spoken():
        options = Options(
            name=name,
            environment=environment,
            webhook_url=webhook_url,
            queue=queue,
            classic=classic,
            identities=tuple(dict.fromkeys(identities)),
            tracks_opens_and_clicks=opens_and_clicks,
            may_be_plain=stamp_of_environment(os.environ) == "sandbox",
        )
        _dispatch(settings, options, How(adopt, dry_run, output, iam_policy, env_file, not no_wait, _seconds(timeout)))


@contextmanager
def _spoken() -> Iterator[None]:
    try:
        yield
    except OptionsError as error:
        raise UsageError(str(error)) from None
    except (AwsCallError, ApplyError) as error:
        raise CommandError(str(error)) from None


def _seconds(timeout: str) -> float:
    try:
        return parse_duration(timeout).total_seconds()
    except ValueError as error:
        raise UsageError(f"--timeout: {error}.") from None


def _dispatch(settings: Settings, options: Options, how: How) -> None:
    if how.output == "terraform":
        click.echo(terraform(options), nl=False)
        return
    aws = clients()
    if how.output == "iam":
        place, _ = caller(aws)
        show_json(policies(Subject(options, place, sending(list_identities(Reader(aws, place))))))
        return
    with opened_stores(settings) as stores:
        stamp = require_one_aws(aws, stores.db)
        # The variables may say one thing and be ignored; what matters is where the subscription will really be made.
        options = replace(options, may_be_plain=stamp == "sandbox")
        place, who = caller(aws)
        show_place(place, who)
        Run(aws, place, settings, stores, stamp, options, how).run()
