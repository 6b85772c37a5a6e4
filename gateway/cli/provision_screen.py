"""What `sesgate provision` shows: the plan as a diff, what was done, and what is to be removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import click

from gateway.aws.provisioning.destroy import Farewell, Removal
from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.plan import Action, Difference, Plan, Step
from gateway.cli.output import printable

_MARKS = {Action.CREATE: "+", Action.CHANGE: "~", Action.UNCHANGED: "=", Action.FOREIGN: "!"}


def show_place(place: Place, who: str) -> None:
    click.echo(
        f"Account {place.account}, region {place.region}, as {printable(who or 'nobody that STS knows')}.", err=True
    )


def show_plan(plan: Plan) -> None:
    """+ create, ~ change with old and new, = unchanged, ! not ours."""
    for step in plan.steps:
        for line in plan_lines(step):
            click.echo(line)
    click.echo(_summary(plan))


def _summary(plan: Plan) -> str:
    made = sum(step.action is Action.CREATE for step in plan.steps)
    changed = len(plan.changes) - made
    told = f"{made} to make, {changed} to change." if plan.changes else "Nothing to change."
    return f"{told} {len(plan.foreign)} not ours." if plan.foreign else told


def plan_lines(step: Step) -> Iterator[str]:
    """One step of the diff."""
    yield f"{_MARKS[step.action]} {printable(step.resource.title)}{_remark(step)}"
    if step.action is Action.CREATE:
        for one in step.differences:
            yield f"    {one.attribute}: {_value(one.new)}"
    if step.action is Action.CHANGE:
        for one in step.differences:
            yield from _change(one)


def _remark(step: Step) -> str:
    if step.action is Action.FOREIGN:
        return ": it is there and not ours; --adopt takes it over"
    return " (taken over)" if step.adopts else ""


def _change(one: Difference) -> Iterator[str]:
    old, new = _value(one.old), _value(one.new)
    if isinstance(one.new, dict):
        yield from (f"    {one.attribute}:", f"      - {old}", f"      + {new}")
    else:
        yield f"    {one.attribute}: {old} -> {new}"


def _value(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text)


def tell_done(step: Step) -> None:
    """One line a step, as it is done."""
    click.echo(f"{_MARKS[step.action]} {printable(step.resource.title)}: {_done(step)}")


def _done(step: Step) -> str:
    changed = [one.attribute for one in step.differences]
    if step.action is Action.CREATE:
        return "made"
    if "Confirmed" in changed:
        return "asked to confirm again"
    return f"changed ({', '.join(changed)})"


def warn(sentence: str) -> None:
    click.echo(f"Warning: {printable(sentence)}", err=True)


def show_env(env: dict[str, str]) -> None:
    click.echo("\nFor .env, or the environment, of the gateway:")
    for name, value in env.items():
        click.echo(f"{name}={value}")


def show_farewell(goodbye: Farewell) -> None:
    """What goes, and what stays and why."""
    if goodbye.removals:
        click.echo("To be removed:")
        _list(map(removal_line, goodbye.removals))
    if goodbye.kept:
        click.echo("Left as it is:")
        _list(f"  {kept}" for kept in goodbye.kept)


def removal_line(removal: Removal) -> str:
    return f"- {removal.title}" + (f" ({removal.note})" if removal.note else "")


def _list(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(f"  {printable(line)}")
