"""What is wanted against what is there: the steps, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from gateway.aws.provisioning.policies import comparable_policy, strange_statements, with_former_sources
from gateway.aws.provisioning.wanted import Kind, Resource
from gateway.sns_endpoints import masked_endpoint


class Action(StrEnum):
    """What a step does."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"
    FOREIGN = "foreign"
    """It exists without our tag, and nobody said that it may be taken over."""


@dataclass(frozen=True, slots=True)
class Found:
    """A thing as it is. `tags` is None when what answers in place of AWS keeps none.

    `arn` is its own where AWS gave it one (a subscription has none before it is confirmed), `url` a queue's.
    """

    kind: Kind
    name: str
    attributes: Mapping[str, Any]
    tags: Mapping[str, str] | None = None
    arn: str = ""
    url: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute that is not as it shall be; `old` is None where there was nothing."""

    attribute: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about one resource; `found` is what there was."""

    action: Action
    resource: Resource
    differences: tuple[Difference, ...] = ()
    found: Found | None = None
    adopts: bool = False

    @property
    def changes(self) -> bool:
        return self.action in {Action.CREATE, Action.CHANGE}


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps in their order, and what a person should know beside them."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.changes)

    @property
    def foreign(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.action is Action.FOREIGN)


TAG_ATTRIBUTE: Final = "tag"
_SETS: Final = frozenset({"MatchingEventTypes"})


def plan(
    wanted: Iterable[Resource],
    found: Mapping[tuple[Kind, str, str], Found],
    *,
    tag: tuple[str, str],
    adopt: bool = False,
    shows_all: bool = True,
    warnings: Sequence[str] = (),
) -> Plan:
    """The steps from what is `found` (by `key_of`) to what is wanted. `tag`: our name and value.

    Without `shows_all` an attribute that is not shown is taken to be as it was asked for: an emulator of AWS may keep
    it to itself, and would be changed at every run.
    """
    made = [_step(resource, found.get(key_of(resource)), tag, adopt=adopt) for resource in wanted]
    steps = tuple(made if shows_all else map(_without_unshown, made))
    return Plan(steps, (*warnings, *_lost_statements(steps), *_left_subscriptions(steps, found)))


def _lost_statements(steps: Iterable[Step]) -> Iterator[str]:
    """What others have allowed by the policy of something that is taken over, or of ours."""
    for step in steps:
        policy = next((one for one in step.differences if one.attribute == "Policy"), None)
        lost = strange_statements(policy.old) if policy and step.action is Action.CHANGE else []
        if lost:
            yield (
                f"{step.resource.title}: its policy is replaced, and what others put into it is lost"
                f" ({', '.join(lost)}). Nobody else may write where the gateway reads; use a topic or queue of your"
                " own for that."
            )


def _left_subscriptions(steps: Sequence[Step], found: Mapping[tuple[Kind, str, str], Found]) -> Iterator[str]:
    """Those of our topics that this run did not ask for: of an address that the webhook had before, or of others."""
    wanted = {key_of(step.resource) for step in steps}
    topics = {step.resource.arn for step in steps if step.resource.kind is Kind.TOPIC}
    for key, one in found.items():
        if one.kind is Kind.SUBSCRIPTION and one.arn and one.parent in topics and key not in wanted:
            yield (
                f"topic {one.parent.rpartition(':')[2]} is delivered to"
                f" {masked_endpoint(str(one.attributes.get('Endpoint')))} as well, which was not asked for and is left"
                f" alone. To end it: aws sns unsubscribe --subscription-arn {one.arn}."
            )


def key_of(resource: Resource | Found) -> tuple[Kind, str, str]:
    """By what a resource and what was found are the same."""
    return resource.kind, resource.name, resource.parent


def _step(resource: Resource, found: Found | None, tag: tuple[str, str], *, adopt: bool) -> Step:
    if found is None:
        differences = tuple(Difference(name, None, value) for name, value in resource.attributes.items())
        return Step(Action.CREATE, resource, differences)
    if "Policy" in resource.attributes and not _is_foreign(resource, found, tag):
        policy = with_former_sources(resource.attributes["Policy"], found.attributes.get("Policy"))
        resource = replace(resource, attributes={**resource.attributes, "Policy": policy})
    differences = tuple(_differences(resource, found))
    strange = _is_foreign(resource, found, tag)
    if strange and not adopt:
        return Step(Action.FOREIGN, resource, differences, found)
    if strange and resource.has_tag:
        differences = (Difference(TAG_ATTRIBUTE, (found.tags or {}).get(tag[0]), "=".join(tag)), *differences)
    return Step(Action.CHANGE if differences else Action.UNCHANGED, resource, differences, found, adopts=strange)


def _without_unshown(step: Step) -> Step:
    if step.action is not Action.CHANGE or step.found is None:
        return step
    shown = {TAG_ATTRIBUTE, *step.found.attributes}
    left = tuple(one for one in step.differences if one.attribute in shown)
    return replace(step, action=Action.CHANGE if left else Action.UNCHANGED, differences=left)


def _is_foreign(resource: Resource, found: Found, tag: tuple[str, str]) -> bool:
    """An identity carries no tag of ours: it is another's when it reports to another topic already."""
    if resource.kind is Kind.IDENTITY:
        topics = (name for name in resource.attributes if name.endswith("Topic"))
        return any(found.attributes.get(name) not in {None, "", resource.attributes[name]} for name in topics)
    return resource.has_tag and found.tags is not None and found.tags.get(tag[0]) != tag[1]


def _differences(resource: Resource, found: Found) -> Iterable[Difference]:
    if resource.kind is Kind.SUBSCRIPTION and not found.arn:  # before its confirmation SNS tells nothing else of it
        yield Difference("Confirmed", old=False, new=True)
        return
    for name, value in resource.attributes.items():
        old = found.attributes.get(name)
        compare = _comparison(resource.kind, name)
        if compare(old) != compare(value):
            yield Difference(name, old, value)


def _comparison(kind: Kind, attribute: str) -> Callable[[Any], Any]:
    if kind is Kind.TRUST:
        return lambda arns: frozenset(arns or ())
    if attribute in _SETS:
        return lambda members: sorted(members or ())
    if attribute == "Policy":
        return comparable_policy
    return _plain


def _plain(value: Any) -> Any:
    """A JSON value as it compares: AWS gives numbers back as text, and fills policies up with null and false."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items() if not _is_filler(member)} or None
    if isinstance(value, bool) or value is None:
        return value
    return str(value)


def _is_filler(member: Any) -> bool:
    return member is None or member is False
