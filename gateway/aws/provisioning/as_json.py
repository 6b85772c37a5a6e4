"""What provision wants and would do, as JSON for scripts; passwords in endpoints are masked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.aws.provisioning.names import Place
from gateway.aws.provisioning.plan import Plan, Step
from gateway.aws.provisioning.wanted import Resource


def plan_as_json(place: Place, plan: Plan, *, env: dict[str, str], iam: dict[str, Any]) -> dict[str, Any]:
    """Everything that `--dry-run` shows and a run prints at its end."""
    return {
        "account": place.account,
        "region": place.region,
        "partition": place.partition,
        "changes": len(plan.changes),
        "steps": [_step(step) for step in plan.steps],
        "warnings": list(plan.warnings),
        "env": env,
        "iam": iam,
    }


def _step(step: Step) -> dict[str, Any]:
    shown = {"action": str(step.action), **_resource(step.resource)}
    if step.found is None:
        return shown
    differences = [{"attribute": one.attribute, "old": one.old, "new": one.new} for one in step.differences]
    return shown | {"differences": differences}


def _resource(resource: Resource) -> dict[str, Any]:
    optional = {"arn": resource.arn, "parent": resource.parent}
    given = {name: value for name, value in optional.items() if value}
    return {"kind": str(resource.kind), "name": resource.name, **given, "attributes": dict(resource.attributes)}


def env_lines(env: dict[str, str]) -> Iterable[str]:
    """As they stand in `.env`."""
    return (f"{name}={value}" for name, value in env.items())
