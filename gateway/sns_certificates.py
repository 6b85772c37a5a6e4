"""Where the certificates come from that SNS signs with: Amazon over HTTPS, or the sandbox's pinned file."""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from gateway.logs import get_logger

_MAX_BYTES = 64 * 1024
_TIMEOUT = 3.0  # seconds for the connection and for each read
_DEADLINE = 6.0  # seconds for all of it, since SNS waits 15 for our answer
_MAX_ENTRIES = 8
_LIFETIME = 24 * 3600.0
_BACK_OFF = 10.0  # well below the 20 seconds after which SNS tries again
_MINUTE = 60.0
_MAX_FETCHES = 6  # a minute, whatever comes of them
_MAX_STRANGE = 4  # of these for URLs that never gave a certificate

log = get_logger(__name__)


class CertificateUnavailableError(Exception):
    """The certificate cannot be had at this moment; the text says why."""


class CertificateStore:
    """Certificates by URL, fetched at most once a day each.

    The URL of a message is checked before it comes here, but not signed: somebody who knows a topic can still make up
    URLs on Amazon's own host. So all fetches together are at most six in any minute, a URL that failed is left alone
    for a moment, and one URL is fetched by one thread while the others wait for what it gets. Two of the six are kept
    for URLs that once gave a certificate: a flood of made-up ones does not keep us from renewing it.

    The count is this store's, so it holds for a process.
    """

    def __init__(
        self, fetch: Callable[[str], bytes] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch or fetch_certificate
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._failures: dict[str, float] = {}
        self._fetches: deque[tuple[float, bool]] = deque()  # when, and whether the URL was a strange one
        self._fetching: dict[str, threading.Event] = {}

    def __call__(self, url: str) -> bytes:
        """The certificate as PEM; CertificateUnavailableError when it cannot be had now."""
        with self._lock:
            pem = self._cached(url)
            if pem is not None:
                return pem
            done = self._fetching.get(url)
            if done is None:
                self._count_fetch(url)
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
                self._failures[url] = self._clock()
            else:
                self._keep(url, pem)
            self._fetching.pop(url).set()

    def _cached(self, url: str) -> bytes | None:
        fetched_at, pem = self._entries.get(url, (0.0, None))
        if pem is None or self._clock() - fetched_at > _LIFETIME:
            return None
        self._entries.move_to_end(url)
        return pem

    def _keep(self, url: str, pem: bytes) -> None:
        self._entries[url] = (self._clock(), pem)
        self._entries.move_to_end(url)
        while len(self._entries) > _MAX_ENTRIES:
            self._entries.popitem(last=False)

    def _count_fetch(self, url: str) -> None:
        """CertificateUnavailableError when it is too early for this fetch."""
        self._forget_the_past()
        if url in self._failures:
            raise CertificateUnavailableError("fetching it failed a moment ago")
        strange = url not in self._entries
        if len(self._fetches) >= _MAX_FETCHES or (strange and self._strange_fetches() >= _MAX_STRANGE):
            raise CertificateUnavailableError("too many certificates were fetched in the last minute")
        self._fetches.append((self._clock(), strange))

    def _strange_fetches(self) -> int:
        return sum(strange for _, strange in self._fetches)

    def _forget_the_past(self) -> None:
        now = self._clock()
        while self._fetches and now - self._fetches[0][0] >= _MINUTE:
            self._fetches.popleft()
        self._failures = {url: at for url, at in self._failures.items() if now - at < _BACK_OFF}


class PinnedCertificate:
    """The sandbox's certificate: a file that it writes when it first starts, maybe after us."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: tuple[tuple[int, ...], bytes] | None = None  # what was read last, and of which file

    def __call__(self) -> bytes:
        """The certificate as PEM, read anew if the file changed; CertificateUnavailableError while there is none."""
        try:
            found, kept = _identity(self._path.stat()), self._kept
            if kept is not None and kept[0] == found:
                return kept[1]
            pem = self._path.read_bytes()
        except OSError as error:
            reason = f"the simulated AWS has not written its certificate to {self._path} ({error.strerror})"
            raise CertificateUnavailableError(reason) from None
        _require_certificate(pem)
        self._kept = found, pem
        return pem


def _identity(file: os.stat_result) -> tuple[int, ...]:
    """Another one for whatever is written to the file, or put in its place."""
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns


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
