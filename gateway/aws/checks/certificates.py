"""Whether the certificates can be had that SNS signs with."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from gateway.findings import Finding, Ledger, failed, ok
from gateway.sns_certificates import CertificateUnavailableError, PinnedCertificate
from gateway.sns_topics import TopicsError, parse_topic

_TIMEOUT: Final = 5.0


def look_at_certificates(
    ledger: Ledger, topics: Iterable[str], pinned: Path | None, reach: Callable[[str], None] | None = None
) -> None:
    """Each host that serves certificates for one of these topics; the file, where they are of the simulated AWS."""
    if pinned is not None:
        ledger.add(_judge_pinned(pinned))
        return
    for host in sorted(_hosts(topics)):
        try:
            (reach or reach_directly)(host)
        except (OSError, http.client.HTTPException) as error:
            ledger.add(judge_host(host, error))
        else:
            ledger.add(judge_host(host, None))


def _hosts(topics: Iterable[str]) -> set[str]:
    found = set()
    for arn in topics:
        try:
            found.add(parse_topic(arn).host)
        except TopicsError:
            continue
    return found


def reach_directly(host: str) -> None:
    """As the webhook does: HTTPS with a certificate that is trusted, past any proxy. OSError, HTTPException if not.

    Which certificate signs is known only from a message, so that none is fetched: the host's answer is enough.
    """
    connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT, context=ssl.create_default_context())
    try:
        connection.request("HEAD", "/", headers={"User-Agent": "sesgate doctor"})
        connection.getresponse()
    finally:
        connection.close()


def judge_host(host: str, error: Exception | None) -> Finding:
    check = f"certificates of {host}"
    if error is None:
        return ok(check, "the host answers over HTTPS, so the webhook can fetch them")
    return failed(
        check,
        f"it cannot be reached over HTTPS ({type(error).__name__}), so no message of SNS can be verified",
        f"Let this machine open connections to {host}:443; the webhook uses no proxy for it.",
    )


def _judge_pinned(file: Path) -> Finding:
    check = "signing certificate"
    try:
        PinnedCertificate(file)()
    except CertificateUnavailableError as error:
        return failed(
            check,
            f"{error}",
            "Start `sesgate sandbox` with the same SESGATE_DATA_DIR: it writes the file at its start.",
        )
    return ok(check, "that of the simulated AWS is pinned")
