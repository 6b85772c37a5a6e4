"""One run of `sesgate provision`: plans, carries out, waits for the confirmation, and says what to set."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

import click

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning import hearing, outcome
from gateway.aws.provisioning.apply import Applier, Awaited, apply
from gateway.aws.provisioning.as_json import plan_as_json
from gateway.aws.provisioning.confirmation import wait_for
from gateway.aws.provisioning.found import Identity, Reader
from gateway.aws.provisioning.iam import Subject, gateway_policy, policies
from gateway.aws.provisioning.names import TAG, Names, Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.plan import Found, Plan, key_of, plan
from gateway.aws.provisioning.wanted import Kind, Resource, wanted
from gateway.aws.session import Aws
from gateway.cli.context import actor
from gateway.cli.env_files import set_variables, text_of
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.network import answers
from gateway.cli.output import show_json
from gateway.cli.progress import ending_between_steps
from gateway.cli.provision_screen import show_env, show_plan, tell_done, warn
from gateway.cli.whole_files import replacing
from gateway.settings import SANDBOX_ACCOUNT, Settings
from gateway.sns_endpoints import masked_endpoint
from gateway.sns_topics import TopicsError, check_topics
from gateway.store.control import HEARD
from gateway.store.schema import Stamp
from gateway.store.stores import Stores
from gateway.store.trusted_topics import trust_topics, trusted_topics

_TOPICS_KNOWN_AFTER = 3.0
"""Seconds: the webhook re-reads its topics every two."""
_NOT_VERIFIABLE = (
    "This is neither AWS nor the simulated AWS of sesgate: what it signs cannot be verified, so its topics are not"
    " trusted, and no confirmation is waited for."
)


@dataclass(frozen=True, slots=True)
class How:
    """What is to be done with the options."""

    adopt: bool
    dry_run: bool
    output: str | None
    iam_policy: Path | None
    env_file: Path | None
    waits: bool
    seconds: float


def list_identities(reader: Reader) -> tuple[Identity, ...]:
    """None of them when they cannot be listed, which is said."""
    try:
        return reader.identities()
    except AwsCallError as error:
        if not (error.is_unknown_call or error.is_denied):
            raise
        warn(f"The identities are not known, so the IAM policy names none. {error}")
        return ()


def sending(identities: Sequence[Identity]) -> list[str]:
    return [identity.name for identity in identities if identity.may_send]


class Run:
    """One run."""

    def __init__(
        self, aws: Aws, place: Place, settings: Settings, stores: Stores, stamp: Stamp, options: Options, how: How
    ) -> None:
        self._aws = aws
        self._place = place
        self._settings = settings
        self._stores = stores
        self._stamp = stamp
        self._options = options
        self._how = how
        self._reader = Reader(aws, place)
        self._waits = how.waits

    def run(self) -> None:
        self._require_files()
        identities = list_identities(self._reader)
        self._require_identities(identities)
        made, found = self._plan(identities)
        subject = Subject(self._options, self._place, sending(identities))
        queue = found.get((Kind.QUEUE, subject.names.queue, ""))
        env = outcome.settings(self._options, self._place, queue.url if queue else None)
        if self._how.output == "json":
            show_json(plan_as_json(self._place, made, env=env, iam=policies(subject)))
            return
        for sentence in made.warnings:
            warn(sentence)
        if self._how.dry_run:
            show_plan(made)
            return
        self._refuse_foreign(made)
        skipped = self._carry_out(made)
        self._hand_over(self._env(env))
        self._show_policy(gateway_policy(subject))
        if skipped:
            raise CommandError(f"Not made, for what answers in place of AWS does not know how: {', '.join(skipped)}.")

    def _require_files(self) -> None:
        """What could not be written at the end, or must not be written over, stops it before anything is made."""
        policy, env = self._how.iam_policy, self._how.env_file
        if env is not None:
            text_of(env)
        if policy is not None and not _is_policy_or_new(policy):
            raise UsageError(f"{policy} is there and is no IAM policy; give --iam-policy the name of another file.")

    def _require_identities(self, identities: Sequence[Identity]) -> None:
        missing = outcome.missing_identities(self._options, [identity.name for identity in identities])
        if missing and identities:
            raise CommandError(
                f"{', '.join(missing)}: no identity of this account in {self._place.region}; verify it in SES first."
            )

    def _plan(self, identities: Sequence[Identity]) -> tuple[Plan, dict[Any, Found]]:
        resources = wanted(self._options, self._place)
        warnings = outcome.classic_warnings(self._options, [identity.name for identity in identities])
        if identities and not sending(identities):
            warnings.append("No identity is verified for sending here, so SES takes no mail yet.")
        resources, obstacles = self._trustable(resources)
        found = self._reader.look(resources)
        for resource in (each for each in resources if each.kind is Kind.TRUST):
            known = trusted_topics(self._stores.db)
            arns = [arn for arn in resource.attributes["arns"] if arn in known]
            found[key_of(resource)] = Found(Kind.TRUST, resource.name, {"arns": arns})
        tag = (TAG, self._options.scope)
        told = [*warnings, *obstacles]
        made = plan(resources, found, tag=tag, adopt=self._how.adopt, shows_all=not obstacles, warnings=told)
        return made, found

    def _trustable(self, resources: tuple[Resource, ...]) -> tuple[tuple[Resource, ...], list[str]]:
        """All resources, or those without the trust that this database must not be given.

        The webhook believes what AWS signs, and what our own simulated AWS signs. What another emulator signs it
        cannot check; its topics would only keep the webhook from starting.
        """
        arns = [arn for each in resources if each.kind is Kind.TRUST for arn in each.attributes["arns"]]
        known = (*self._settings.sns_topic_arns, *trusted_topics(self._stores.db))
        try:
            check_topics((*known, *arns), self._stamp)
        except TopicsError as error:
            if self._stamp == "aws" or self._place.account == SANDBOX_ACCOUNT:
                raise CommandError(str(error)) from None
            self._waits = False
            return tuple(each for each in resources if each.kind is not Kind.TRUST), [_NOT_VERIFIABLE]
        return resources, []

    def _refuse_foreign(self, made: Plan) -> None:
        if made.foreign:
            titles = ", ".join(step.resource.title for step in made.foreign)
            raise CommandError(
                f"{titles}: there already, and not made by this. Look at it with --dry-run; then give --adopt to take"
                " it over, or --name or --environment to leave it alone. Nothing was changed."
            )

    def _carry_out(self, made: Plan) -> list[str]:
        """What an emulator of AWS could not make."""
        if not made.changes:
            click.echo("Nothing to change: everything is as it shall be.")
            return []
        applier = Applier(self._aws, (TAG, self._options.scope), trust=self._trust, warn=warn)
        began = datetime.now(UTC)
        with ending_between_steps() as ending:
            reached = apply(made, applier.carry_out, tell_done, ending)
        if not reached.is_complete:
            raise CommandError("It ended between two steps, as asked. Run the same command again to go on.")
        for _, sentence in reached.skipped:
            warn(sentence)
        if applier.awaited and self._waits:
            self._wait(applier.awaited, began)
        return [step.resource.title for step, _ in reached.skipped]

    def _trust(self, arns: list[str]) -> None:
        trust_topics(self._stores.db, arns, actor=actor())
        time.sleep(_TOPICS_KNOWN_AFTER)

    def _wait(self, awaited: Sequence[Awaited], began: datetime) -> None:
        """CommandError with a diagnosis when it is not confirmed in time."""
        url = masked_endpoint(self._options.webhook_url or "")

        def say(pending: Sequence[Awaited]) -> None:
            heard = self._heard(pending, began)
            click.echo(f"… {len(pending)} pending: {hearing.spoken(heard, url)}", err=True)

        pending = wait_for(self._aws, awaited, seconds=self._how.seconds, say=say)
        if not pending:
            click.echo("Confirmed: what SES reports is delivered.")
            return
        heard = self._heard(pending, began)
        titles = ", ".join(one.resource.title for one in pending)
        raise CommandError(
            f"{titles}: not confirmed in {self._how.seconds:g} s; {hearing.spoken(heard, url)}."
            f" {hearing.diagnosis(heard, url)}{self._local_webhook()} Then run the same command again."
        )

    def _heard(self, pending: Sequence[Awaited], began: datetime) -> hearing.Heard | None:
        topics = frozenset(one.resource.parent for one in pending)
        return hearing.latest(self._stores.control.get(HEARD), topics, began)

    def _local_webhook(self) -> str:
        """The simplest reason of all, if the webhook is meant to run on this machine."""
        address = self._settings.webhook_listen
        try:
            if answers(address, "/healthz"):
                return ""
        except (OSError, HTTPException):
            pass
        return f" On this machine nothing answers on {address}: is `sesgate webhook` running?"

    def _env(self, env: dict[str, str]) -> dict[str, str]:
        """With the queue's URL as AWS calls it, now that the queue is there."""
        if not self._options.queue:
            return env
        queue = self._reader.queue(Names(self._options.scope, self._options.environment).queue)
        return outcome.settings(self._options, self._place, queue.url) if queue else env

    def _hand_over(self, env: dict[str, str]) -> None:
        if self._how.env_file is None:
            show_env(env)
        elif self._set(self._how.env_file, env):
            click.echo(f"{self._how.env_file} is written: {', '.join(env)}.")
        else:
            click.echo(f"{self._how.env_file} has all of it already.")

    @staticmethod
    def _set(file: Path, env: dict[str, str]) -> bool:
        try:
            return set_variables(file, env)
        except OSError:  # AWS is wired by now, so what it is worth is told all the same
            show_env(env)
            raise

    def _show_policy(self, document: dict[str, Any]) -> None:
        if self._how.iam_policy is None:
            click.echo("\nThe least that the gateway's role must be allowed (IAM policy):")
            show_json(document)
            return
        with replacing(self._how.iam_policy, keeps_access=True) as stream:
            stream.write((json.dumps(document, indent=2) + "\n").encode())
        click.echo(f"\nThe least that the gateway's role must be allowed is in {self._how.iam_policy}.")


def _is_policy_or_new(file: Path) -> bool:
    """Whether nothing is lost when a policy is written there."""
    if not file.is_file():
        return True
    try:
        text = file.read_bytes()
        return not text.strip() or "Statement" in json.loads(text)
    except (ValueError, TypeError):
        return False
