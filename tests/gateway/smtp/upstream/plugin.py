"""A plugin of pytest: our protocol in the place of aiosmtpd's, and the list of what is known to differ.

A reply counts as aiosmtpd's if its code is: each of ours has an enhanced status code and a sentence of its own.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import aiosmtpd.controller
import aiosmtpd.smtp
import pytest
from aiosmtpd.testing.statuscodes import StatusCode

from tests.gateway.smtp.upstream.server import UpstreamSMTP

_LIST = Path(__file__).with_name("deviations.toml")


@dataclass(frozen=True)
class Reason:
    """Why the tests that fit a pattern do not pass, or are not run at all."""

    pattern: str
    reason: str
    runs: bool

    def fits(self, item: pytest.Item) -> bool:
        test = item.nodeid.rpartition("/")[2]
        return test == self.pattern or (self.pattern.endswith("*") and fnmatchcase(test, _literal(self.pattern)))


def _literal(pattern: str) -> str:
    return pattern[:-1].replace("[", "[[]") + "*"


def _reasons() -> list[Reason]:
    listed = tomllib.loads(_LIST.read_text())
    return [
        Reason(pattern, one["reason"], runs)
        for kind, runs in (("deviation", True), ("not_ours", False))
        for one in listed[kind]
        for pattern in one["tests"]
    ]


def _same_code(self: StatusCode, other: object) -> bool:
    return isinstance(other, tuple) and self[0] == other[0]


def pytest_configure() -> None:
    """Before the test modules are imported, which take the class by its name."""
    StatusCode.__eq__ = _same_code
    aiosmtpd.smtp.SMTP = UpstreamSMTP
    aiosmtpd.controller.SMTP = UpstreamSMTP


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that is said to deviate must fail; a pattern that fits nothing is out of date."""
    reasons, left_out = _reasons(), []
    unused = {one.pattern for one in reasons}
    for item in items:
        found = next((one for one in reasons if one.fits(item)), None)
        if found is None:
            continue
        unused.discard(found.pattern)
        if found.runs:
            item.add_marker(pytest.mark.xfail(reason=found.reason, strict=True))
        else:
            left_out.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
    if unused and config.getoption("keyword") == "":
        raise pytest.UsageError(f"{_LIST.name} names what is no test, or is named before: {', '.join(sorted(unused))}")
