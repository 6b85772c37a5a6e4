"""Where the certificates come from that SNS signs with: Amazon over HTTPS, or the sandbox's pinned file."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509

from gateway.logs import get_logger

_MAX_BYTES = 64 * 1024
_TIMEOUT = 3.0  # seconds for the connection and for each read
_DEADLINE = 6.0  # seconds for all of it, since SNS waits 15 for our answer
_MAX_ENTRIES = 8
_LIFETIME = 24 * 3600.0
_MAX_FAILURES = 8  # within _BACK_OFF
_BACK_OFF = 10.0  # well below the 20 seconds after which SNS tries again

log = get_logger(__name__)

T = TypeVar("T")


class CertificateUnavailableError(Exception):
    """The certificate cannot be had at this moment; the text says why."""


class CertificateStore:
    """Certificates by URL, fetched at most once a day each.

    The URL of a message is checked before it comes here, but not signed: somebody who knows a topic can still make up
    URLs on Amazon's own host. So failures are remembered for a moment, by URL and all together, and one URL is fetched
    by one thread while the others wait for what it gets. A URL that once had a certificate is exempt from the common
    limit: a flood of made-up ones does not keep us from renewing it.
    """

    def __init__(
        self, fetch: Callable[[str], bytes] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch or fetch_certificate
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._failures: OrderedDict[str, float] = OrderedDict()
        self._fetching: dict[str, threading.Event] = {}

    def __call__(self, url: str) -> bytes:
        """The certificate as PEM; CertificateUnavailableError when it cannot be had now."""
        with self._lock:
            pem = self._cached(url)
            if pem is not None:
                return pem
            done = self._fetching.get(url)
            if done is None:
                self._refuse_after_failures(url)
                self._fetching[url] = threading.Event()
        return self._fetch_and_keep(url) if done is None else self._wait(url, done)

    def _wait(self, url: str, done: threading.Event) -> bytes:
        done.wait(_DEADLINE + _TIMEOUT)
        with self._lock:
            pem = self._cached(url)
        if pem is None:
            raise CertificateUnavailableError("it could not be fetched")
        return pem

    def _fetch_and_keep(self, url: str) -> bytes:
        try:
            pem = self._fetch(url)
            _require_certificate(pem)
        except CertificateUnavailableError as error:
            log.warning("certificate_unavailable", url=url, reason=str(error))
            self._settle(url, None)
            raise
        except BaseException:
            self._settle(url, None)
            raise
        self._settle(url, pem)
        return pem

    def _settle(self, url: str, pem: bytes | None) -> None:
        """Keep a certificate, or the moment of a failure, and wake who waits for it."""
        with self._lock:
            if pem is None:
                _put(self._failures, url, self._clock(), _MAX_FAILURES)
            else:
                _put(self._entries, url, (self._clock(), pem), _MAX_ENTRIES)
                self._failures.pop(url, None)
            self._fetching.pop(url).set()

    def _cached(self, url: str) -> bytes | None:
        fetched_at, pem = self._entries.get(url, (0.0, None))
        if pem is None or self._clock() - fetched_at > _LIFETIME:
            return None
        self._entries.move_to_end(url)
        return pem

    def _refuse_after_failures(self, url: str) -> None:
        recent = self._clock() - _BACK_OFF
        while self._failures and next(iter(self._failures.values())) < recent:
            self._failures.popitem(last=False)
        if url in self._failures:
            raise CertificateUnavailableError("fetching it failed a moment ago")
        made_up = len(self._failures) + len(self._fetching) >= _MAX_FAILURES
        if made_up and url not in self._entries:
            raise CertificateUnavailableError("too many certificates could not be fetched a moment ago")


class PinnedCertificate:
    """The sandbox's certificate: a file that it writes when it first starts, maybe after us."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> bytes:
        """The certificate as PEM, read anew each time; CertificateUnavailableError while there is none."""
        try:
            pem = self._path.read_bytes()
        except OSError as error:
            reason = f"the simulated AWS has not written its certificate to {self._path} ({error.strerror})"
            raise CertificateUnavailableError(reason) from None
        _require_certificate(pem)
        return pem


def fetch_certificate(url: str, tls: ssl.SSLContext | None = None) -> bytes:
    """GET one small document over HTTPS: the peer is verified, a redirect is a failure, no proxy is used.

    `http.client` reads no proxy settings from the environment. CertificateUnavailableError whatever goes wrong.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        raise CertificateUnavailableError("it is not offered over HTTPS")
    deadline = time.monotonic() + _DEADLINE
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port, timeout=_TIMEOUT, context=tls or ssl.create_default_context()
    )
    try:
        connection.request("GET", parts.path, headers={"User-Agent": "sesgate"})
        return _read(connection.getresponse(), deadline)
    except (OSError, http.client.HTTPException) as error:
        raise CertificateUnavailableError(f"fetching it failed ({type(error).__name__})") from error
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    if response.status != http.client.OK:
        raise CertificateUnavailableError(f"its server answered {response.status}")
    content = bytearray()
    while chunk := response.read1(8192):
        content += chunk
        if len(content) > _MAX_BYTES:
            raise CertificateUnavailableError(f"it is larger than {_MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise CertificateUnavailableError("its server is too slow")
    return bytes(content)


def _require_certificate(pem: bytes) -> None:
    """Only certificates are cached, so that an error page is not believed for a day."""
    try:
        x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise CertificateUnavailableError("what came is not a certificate") from None


def _put(entries: OrderedDict[str, T], url: str, value: T, limit: int) -> None:
    entries[url] = value
    entries.move_to_end(url)
    while len(entries) > limit:
        entries.popitem(last=False)
