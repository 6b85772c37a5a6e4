"""Lists in pages, as SES v2 gives them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flask import request

from gateway.sandbox.errors import bad_request
from gateway.sandbox.sesv2 import Json, body

PAGE: Final = 100


def page(items: Sequence[Any], key: str) -> Json:
    """One page of a list, with a NextToken (the place to go on from) while there is more."""
    given = body() if request.method == "POST" else dict(request.args)
    start, size = whole(given.get("NextToken"), 0), whole(given.get("PageSize"), PAGE)
    one: Json = {key: list(items[start : start + size])}
    if start + size < len(items):
        one["NextToken"] = str(start + size)
    return one


def whole(given: Any, otherwise: int) -> int:
    """A number of the caller; `otherwise` if it gave none."""
    if given is None:
        return otherwise
    try:
        return int(given)
    except ValueError as error:
        raise bad_request("NextToken or PageSize is not one this service gave out.") from error
