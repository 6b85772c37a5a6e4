"""SES v2, the REST API: the tags of configuration sets and identities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request

from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import not_found
from gateway.sandbox.resources import Resources
from gateway.sandbox.sesv2 import Json, Route, body


def tags_of(given: Mapping[str, Any]) -> dict[str, str]:
    """The `Tags` of a call."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in given.get("Tags") or [] if "Key" in tag}


def listed(tags: Mapping[str, str]) -> list[Json]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class TagApi:
    def __init__(self, config: SandboxConfig, resources: Resources) -> None:
        self._config = config
        self._tags = resources.tags
        self._sets = resources.configuration_sets
        self._identities = resources.identities

    def routes(self) -> list[Route]:
        return [
            Route("TagResource", "POST", "/tags", self._tag),
            Route("UntagResource", "DELETE", "/tags", self._untag),
            Route("ListTagsForResource", "GET", "/tags", self._list),
        ]

    def _tag(self) -> Json:
        given = body()
        self._tags.add(self._tagged(given.get("ResourceArn")), tags_of(given))
        return {}

    def _untag(self) -> Json:
        self._tags.remove(self._tagged(request.args.get("ResourceArn")), request.args.getlist("TagKeys"))
        return {}

    def _list(self) -> Json:
        return {"Tags": listed(self._tags.of(self._tagged(request.args.get("ResourceArn"))))}

    def _tagged(self, arn: str | None) -> str:
        """The ARN, if a configuration set or an identity of this account has it."""
        kind, _, name = (arn or "").rpartition(":")[2].partition("/")
        if arn == self._config.configuration_set_arn(name) and self._sets.exists(name):
            return arn
        if arn == self._config.identity_arn(name) and (found := self._identities.get(name)) is not None:
            return self._config.identity_arn(found.name)
        raise not_found(f"No {kind or 'resource'} has the ARN {arn}.")
