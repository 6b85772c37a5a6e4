"""What `sesgate init` asks, checked, and the variables that follow from the answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from gateway.addresses import AddressError, parse_mailbox
from gateway.aws.provisioning.options import Options, OptionsError

QUEUE = "queue"

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}")


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person said. `reports` is the webhook's public URL, or `queue`; `networks` may send without a password."""

    region: str
    environment: str
    sender: str
    networks: tuple[IPv4Network | IPv6Network, ...]
    reports: str

    def variables(self) -> dict[str, str]:
        """For `.env`. The front listens beyond this machine only when somebody beyond it may send."""
        found = {
            "AWS_REGION": self.region,
            "SESGATE_TRUSTED_NETWORKS": ", ".join(map(str, self.networks)),
            "SESGATE_SES_CONFIGURATION_SET": self._options().scope,
        }
        if any(not network.is_loopback for network in self.networks):
            found["SESGATE_LISTENERS"] = "0.0.0.0:2525 lan"
        return found

    def provision_arguments(self) -> tuple[str, ...]:
        """For `sesgate provision`."""
        where = ("--queue",) if self.reports == QUEUE else ("--webhook-url", self.reports)
        return ("--environment", self.environment, *where)

    def _options(self) -> Options:
        return Options(environment=self.environment, queue=True)


def parse_region(text: str) -> str:
    """A region's name; ValueError with words that fit behind the question. The same for the others below."""
    region = text.strip().lower()
    if not _REGION.fullmatch(region):
        raise ValueError(f"{text!r} is no AWS region; it looks like eu-west-1")
    return region


def parse_environment(text: str) -> str:
    try:
        Options(environment=text.strip(), queue=True)
    except OptionsError:
        raise ValueError(f"{text!r} cannot be part of AWS names; use letters, digits, - and _") from None
    return text.strip()


def environment_of(known: Mapping[str, str]) -> str:
    """What the environment was called before, by the configuration set that was made for it."""
    scope = known.get("SESGATE_SES_CONFIGURATION_SET", "")
    usual = Options(queue=True)
    name, _, environment = scope.partition("-")
    return environment if name == usual.name and environment else usual.environment


def parse_sender(text: str) -> str:
    """An address or a domain that applications send from."""
    sender = text.strip()
    if "@" not in sender:
        if not _DOMAIN.fullmatch(sender):
            raise ValueError(f"{text!r} is neither an address nor a domain")
        return sender.lower()
    try:
        return str(parse_mailbox(sender))
    except AddressError as error:
        raise ValueError(f"{text!r} is no address: {error}") from None


def parse_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks with commas; this machine is always one of them."""
    home = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    try:
        given = [ip_network(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"{text!r} are no networks ({error}); write 10.0.0.0/8, 192.168.1.5") from None
    return (*home, *(network for network in dict.fromkeys(given) if network not in home))


def parse_reports(text: str, *, may_be_plain: bool) -> str:
    """`queue`, or the URL at which the internet reaches this gateway's /sns."""
    where = text.strip()
    if where.lower() == QUEUE:
        return QUEUE
    try:
        Options(webhook_url=where, may_be_plain=may_be_plain)
    except OptionsError as error:
        raise ValueError(f"{str(error).removeprefix('--webhook-url ').rstrip('.')}; or write {QUEUE}") from None
    return where


def sender_to_prove_with(sender: str) -> str:
    """An address: of a domain, one that need not exist, for nothing is ever delivered to it."""
    return sender if "@" in sender else f"sesgate@{sender}"
