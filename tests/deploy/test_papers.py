"""What the papers name exists: settings, commands, metrics, log events, files, and the numbers of the limits."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from gateway.addresses import MAX_DOMAIN, MAX_LOCAL_PART, MAX_PATH
from gateway.cli.main import cli
from gateway.cli.settings import spell, spell_size
from gateway.content import MAX_HEADER, MAX_OWN_RECEIVED, MAX_RECEIVED
from gateway.header_encoding import MAX_LINE
from gateway.metrics import exposition
from gateway.settings import Settings, sources
from gateway.smtp.limits import Limits
from tests.support.gauges import GAUGES
from webhook.notifications import MAX_BODY

ROOT = Path(__file__).parents[2]
PAPERS = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "operations",
        "proxy",
        "backup",
        "erase",
        "limits",
        "databases",
        "by-hand",
        "upgrade",
        "credentials",
        "suppression",
        "feedback",
        "provisioning",
        "doctor",
        "aws",
    )
]
EACH = pytest.mark.parametrize("paper", PAPERS, ids=lambda file: file.stem)


@EACH
def test_settings_that_are_named_exist(paper):
    names = set(re.findall(r"\bSESGATE_[A-Z_]+[A-Z]\b", paper.read_text()))
    sources(dict.fromkeys(names, "x"))


@EACH
def test_commands_that_are_named_exist(paper):
    context = click.Context(cli)
    for line in re.findall(r"`[^`\n]*`|^    .*$", paper.read_text(), re.MULTILINE):
        for match in re.finditer(r"(?<![\w./'-])(?<!-u )sesgate ([a-z]+)(?: ([a-z]+)\b)?", line.partition(" #")[0]):
            command = cli.get_command(context, match[1])
            assert command is not None, line
            if isinstance(command, click.Group) and match[2]:
                assert command.get_command(context, match[2]) is not None, line


@EACH
def test_options_that_are_named_exist(paper):
    known = {"--help", "--version", "--upgrade"}
    for name in cli.list_commands(click.Context(cli)):
        known |= _options(cli.get_command(click.Context(cli), name))
    for line in re.findall(r"`[^`\n]*`|^    .*$", paper.read_text(), re.MULTILINE):
        if "sesgate" in line and "systemctl" not in line and not re.search(r"\b(redis-server|install|aws|pip)\b", line):
            assert set(re.findall(r"(?<!\S)(--[a-z-]+)", line)) <= known, line


def _options(command: click.Command | None) -> set[str]:
    assert command is not None
    found = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found |= _options(command.get_command(context, name))
    return found


@EACH
def test_links_lead_somewhere(paper):
    for target in re.findall(r"\]\(([^)#:]+)\)", paper.read_text()):
        assert (paper.parent / target).exists(), target


def test_every_metric_is_told_and_no_other():
    exposed = set(re.findall(r"^(sesgate_\w+)", exposition(GAUGES).decode(), re.MULTILINE))
    told = set(re.findall(r"\b(sesgate_[a-z_]+)\b", (ROOT / "docs" / "operations.md").read_text()))
    assert told == exposed


def test_log_events_that_are_told_are_logged():
    text = (ROOT / "docs" / "operations.md").read_text().partition("## Log")[2]
    told = set(re.findall(r"`([a-z]+\.[a-z_]+)`", text))
    code = "".join(
        file.read_text() for package in ("gateway", "tasks", "webhook") for file in (ROOT / package).rglob("*.py")
    )
    assert len(told) > 20
    assert [event for event in sorted(told) if f'"{event}"' not in code] == []


def test_the_limits_are_those_of_the_code():
    text, limits, settings = (ROOT / "docs" / "limits.md").read_text(), Limits(), Settings()
    for cell in (
        f"| line | {MAX_LINE} octets |",
        f"| header section | {MAX_HEADER} octets |",
        f"| `Received` fields | {MAX_RECEIVED} |",
        f"| passes through this gateway | {MAX_OWN_RECEIVED} |",
        f"| recipients | {limits.recipients} |",
        f"| address | {MAX_PATH - 2} octets, local part {MAX_LOCAL_PART}, domain {MAX_DOMAIN} |",
        f"| size | {spell_size(settings.max_message_bytes)} |",
        f"have a credential | {limits.connections}, {limits.connections_per_client} of one client",
        f"| command line | {limits.command_octets} octets |",
        f"| errors before `421 4.7.0` | {limits.errors} |",
        f"| NOOP, RSET and the like between two messages | {limits.junk_commands}, ",
        f"before AUTH | {limits.strangers}, {limits.strangers_per_client} of one client",
        f"| response to a challenge of AUTH | {limits.auth_octets} octets |",
        f"| failed AUTH | {limits.failed_auths}, ",
        f"| messages | {limits.messages}, ",
        f"| session | {limits.session:.0f} s, ",
        f"| octets in flight, of all sessions | {limits.octets_in_flight}, ",
        f"| silence | {limits.idle:.0f} s, without a credential {limits.stranger_idle:.0f} s |",
        f"| session without a message | {limits.session_without_message:.0f} s |",
        (
            f"| slow DATA | {limits.data_octets_per_second} octets/s on average after {limits.idle:.0f} s;"
            f" {limits.large_octets_per_second} octets/s"
        ),
        (
            f"| contents over {limits.large_octets} octets at once | {limits.large_contents},"
            f" {limits.large_contents_per_client} of one client, others wait {limits.large_wait:.0f} s |"
        ),
        f"| free disk | {spell_size(settings.min_free_bytes)}, ",
        f"| body of `POST /sns` | {MAX_BODY} octets",
        f"| rate | {settings.rate_factor} of",
    ):
        assert cell in text, cell
    kept = re.findall(r"\| ([0-9]+ d)[^|]*\| `SESGATE_(RETAIN_\w+|MAX_AGE)` \|", text.replace(", then EXPIRED", ""))
    assert len(kept) == 7
    for told, name in kept:
        assert told.replace(" ", "") == spell(getattr(settings, name.lower())), name
