"""What is asked of `sesgate provision`, checked before AWS is asked anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from gateway.sns_endpoints import masked_endpoint

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_LONGEST_SCOPE: Final = 57
"""So that a configuration set (64), and a topic or queue with its ending (80), may have it in their names."""
_WITH_LOGIN: Final = re.compile(r"https?://[^/?#]*@[^/?#@]+(?:[/?#][^@]*)?$")
"""Anything else with an @ may have a password where it would be shown."""


class OptionsError(Exception):
    """What is asked for cannot be made; the text is one sentence with the fix."""


@dataclass(frozen=True, slots=True)
class Options:
    """One set-up. `classic` wires identities instead of a configuration set, one topic for each kind of notification.

    `webhook_url` may hold a password and so is kept out of `repr`. `may_be_plain`: http:// is taken, which only the
    simulated AWS may be given. OptionsError when it cannot be.
    """

    name: str = "sesgate"
    environment: str = "production"
    webhook_url: str | None = field(default=None, repr=False)
    queue: bool = False
    classic: bool = False
    identities: tuple[str, ...] = ()
    tracks_opens_and_clicks: bool = False
    may_be_plain: bool = False

    def __post_init__(self) -> None:
        check_names(self.name, self.environment)
        if self.webhook_url is not None:
            _check_webhook(self.webhook_url, may_be_plain=self.may_be_plain)
        _check_mode(self)

    @property
    def scope(self) -> str:
        """What everything of this set-up is called after, and the value of its tag."""
        return f"{self.name}-{self.environment}"


def check_names(name: str, environment: str) -> None:
    """OptionsError when AWS would not take what is called after them."""
    for option, value in (("--name", name), ("--environment", environment)):
        if not _NAME.fullmatch(value):
            raise OptionsError(f"{option} {value!r}: use letters, digits, - and _, such as production.")
    if len(f"{name}-{environment}") > _LONGEST_SCOPE:
        raise OptionsError(f"--name and --environment are longer than {_LONGEST_SCOPE} characters together.")


def _check_webhook(url: str, *, may_be_plain: bool) -> None:
    if "@" in url and not _WITH_LOGIN.match(url):
        raise OptionsError(
            "--webhook-url has an @ that is not before its host; write https://user:password@mail.example.com/sns, and"
            " percent-encode / ? and # in the password (%2F %3F %23)."
        )
    if any(character.isspace() or not character.isprintable() for character in url) or not url.isascii():
        raise OptionsError("--webhook-url has spaces or characters beyond ASCII; percent-encode them.")
    try:
        parts = urlsplit(url)
        _ = parts.port  # ValueError when it is none
    except ValueError:  # its words may be a part of a password
        raise OptionsError("--webhook-url is no URL; write https://mail.example.com/sns.") from None
    shown = masked_endpoint(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise OptionsError(f"--webhook-url {shown!r} is no URL; write https://mail.example.com/sns.")
    if parts.scheme == "http" and not may_be_plain:
        raise OptionsError(
            f"--webhook-url {shown!r} is not encrypted: everybody on the way could read who is mailed."
            " Use https:// with a certificate of a public authority, or --queue, which needs no public endpoint."
        )
    if parts.fragment:
        raise OptionsError(f"--webhook-url {shown!r} has a fragment (#), which is never sent; leave it out.")


def _check_mode(options: Options) -> None:
    if options.webhook_url is None and not options.queue:
        raise OptionsError(
            "Say where SES's reports shall go: --webhook-url https://mail.example.com/sns for a webhook that the"
            " internet can reach, --queue for an SQS queue that this gateway empties, or both."
        )
    if options.identities and not options.classic:
        raise OptionsError("--identity belongs to --classic; a configuration set reports whatever is sent with it.")
    if options.classic and not options.identities:
        raise OptionsError("--classic needs an --identity example.com for each domain or address that sends.")
    if options.classic and options.tracks_opens_and_clicks:
        raise OptionsError("--opens-and-clicks needs a configuration set, so leave --classic out.")
