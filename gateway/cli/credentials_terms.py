"""What can be typed about a credential: the options that `credentials add` and `change` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import click

from gateway.cli.errors import UsageError
from gateway.credentials import CredentialError, Terms, network, tag
from gateway.setting_values import parse_size

NONE = "none"


def _read(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback that reads one text; `none` is None in the mapping of terms. UsageError when it is malformed."""

    def read(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
        return None if text is None else _parsed(parse, text)

    return read


def _read_many(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Sequence[str]], Any]:
    def read(_context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> Any:
        if NONE in texts and len(texts) > 1:
            raise UsageError(f"{parameter.opts[0]} {NONE} stands alone.")
        return _NOTHING if NONE in texts else tuple(_parsed(parse, text) for text in texts)

    return read


class _Nothing:
    """`none` was typed: take it away."""


_NOTHING = _Nothing()


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    if text == NONE:
        return _NOTHING
    try:
        return parse(text)
    except CredentialError as error:
        raise UsageError(str(error)) from None
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number of recipients")
    return int(text)


def _choice(text: str) -> str:
    if text not in ("reject", "drop"):
        raise ValueError(f"{text!r} is not known; write reject, drop, or {NONE} for the setting")
    return text


_TERMS = (
    click.option("--application", metavar="TEXT", help="What people call it; without it, the name."),
    click.option(
        "--network",
        "networks",
        multiple=True,
        metavar="CIDR",
        callback=_read_many(network),
        help="Machines that need no secret: 10.1.2.3 or 10.1.2.0/24; repeat it for several.",
    ),
    click.option(
        "--sender",
        "senders",
        multiple=True,
        metavar="SENDER",
        callback=_read_many(str),
        help="Whose mail it may send: app@x.org, x.org, or .x.org with all below; repeat it. Without one, anybody's.",
    ),
    click.option("--max-size", "max_message_bytes", metavar="SIZE", callback=_read(parse_size), help="Such as 5MiB."),
    click.option("--per-minute", metavar="N", callback=_read(_number), help="Recipients in any minute."),
    click.option("--per-day", metavar="N", callback=_read(_number), help="Recipients in any 24 hours."),
    click.option(
        "--configuration-set", metavar="NAME", callback=_read(str), help="Of SES, instead of the installation's."
    ),
    click.option(
        "--tag",
        "tags",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_read_many(tag),
        help="For SES, on each of its mails; repeat it for several.",
    ),
    click.option(
        "--suppressed",
        "suppressed_recipients",
        metavar="reject|drop",
        callback=_read(_choice),
        help="What becomes of suppressed recipients, instead of SESGATE_SUPPRESSED_RECIPIENTS.",
    ),
)
_LISTS = ("networks", "senders", "tags")


def with_terms(run: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_TERMS):
        run = option(run)
    return run


def terms_of(typed: dict[str, Any]) -> Terms:
    """What was typed, and no more: an option that was left out is not in it."""
    terms: dict[str, Any] = {}
    for name, value in typed.items():
        if isinstance(value, _Nothing):
            terms[name] = () if name in _LISTS else None
        elif value is not None and value != ():
            terms[name] = value
    return cast("Terms", terms)  # its keys are the names of the options above
