"""The account-level suppression list of a running sandbox, as tests read and empty it."""

from __future__ import annotations

from typing import Any

from tests.support.sandbox import Sandbox


def on_list(client: Any) -> dict[str, str]:
    """Each spelling with its reason."""
    listed = client.list_suppressed_destinations(PageSize=1000)["SuppressedDestinationSummaries"]
    return {one["EmailAddress"]: one["Reason"] for one in listed}


def emptied(sandbox: Sandbox) -> Any:
    """A client of a sandbox that has nothing on its list, and no faults."""
    sandbox.set_faults()
    client = sandbox.client("sesv2")
    for address in on_list(client):
        client.delete_suppressed_destination(EmailAddress=address)
    return client


def aws_environment(sandbox: Sandbox) -> dict[str, str]:
    """What points a command at the sandbox."""
    return {name: value for name, value in sandbox.environment().items() if name.startswith("AWS_")}
