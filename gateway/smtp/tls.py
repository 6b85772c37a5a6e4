"""TLS of the front: the certificate, the contexts made with it, and how a renewed one takes their place.

A context is never changed once it is in use. A renewed pair makes new ones, which the next handshake gets, so a pair
that is of no use, or half written, breaks nothing, and no session notices.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.x509 import load_pem_x509_certificate

from gateway.logs import get_logger
from gateway.setting_values import Listener, TlsVersion, spoken
from gateway.settings import Settings

log = get_logger(__name__)

HANDSHAKE_TIMEOUT: Final = 10.0
SHUTDOWN_TIMEOUT: Final = 2.0  # asyncio would wait 30 s for a client that does not say goodbye

_TELL_BEFORE = timedelta(days=21)  # ACME clients renew at 30 days: by then somebody should have a look
_TELL_EVERY = timedelta(days=1)

# TLS 1.0 signs with SHA-1, which OpenSSL 3 takes at level 0 only; anonymous and export ciphers stay out.
_ANTIQUE_CIPHERS = "DEFAULT:!aNULL:!eNULL:@SECLEVEL=0"
_VERSIONS: Final[dict[TlsVersion, ssl.TLSVersion]] = {
    # TLSv1 by its name is deprecated. The oldest that OpenSSL has is the same: Python keeps SSL 3 out of every context.
    "1.0": ssl.TLSVersion.MINIMUM_SUPPORTED,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


class CertificateError(Exception):
    """There is no certificate where one is needed, or it is of no use; the text is one sentence with the fix."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells that a file is another one, or was written again; the target's when it is a link."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, file: Path) -> _Stamp | None:
        try:
            found = file.stat()
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class Certificates:
    """The pair of SESGATE_TLS_CERT_FILE and SESGATE_TLS_KEY_FILE, as it was when it was last of use."""

    def __init__(self, cert_file: Path, key_file: Path, floors: Iterable[TlsVersion]) -> None:
        """Read the pair; CertificateError when it is of no use."""
        self._files = cert_file, key_file
        self._floors = frozenset(floors)
        self._stamps = self._look()
        self._contexts, self._expires_at = self._load()
        self._failure = ""
        self._tell_at = datetime.min.replace(tzinfo=UTC)

    @property
    def expires_at(self) -> datetime:
        return self._expires_at

    def context(self, listener: Listener) -> ssl.SSLContext:
        """The context for the next handshake of a listener."""
        return self._contexts[listener.min_tls]

    def refresh(self, now: datetime) -> None:
        """Take up the files if they were changed, and warn of an expiry that is near, once a day. May block."""
        stamps = self._look()
        if stamps != self._stamps or self._failure:
            self._stamps = stamps
            self._reload()
        self._tell_of_expiry(now)

    def reload(self, now: datetime) -> None:
        """Take up the files, changed or not: somebody asked for it."""
        self._stamps = self._look()
        self._failure = ""
        self._reload()
        self._tell_of_expiry(now)

    def _reload(self) -> None:
        """A pair that failed is tried again each time, for it may be half written, but told once."""
        try:
            self._contexts, self._expires_at = self._load()
        except CertificateError as error:
            if str(error) != self._failure:
                self._failure = str(error)
                log.error("tls.certificate_refused", reason=f"{error} The certificate from before stays in use.")
            return
        self._failure = ""
        self._tell_at = datetime.min.replace(tzinfo=UTC)
        log.info("tls.certificate_loaded", file=str(self._files[0]), expires=self._expires_at.isoformat())

    def _tell_of_expiry(self, now: datetime) -> None:
        if now < self._tell_at or now < self._expires_at - _TELL_BEFORE:
            return
        self._tell_at = now + _TELL_EVERY
        left = self._expires_at - now
        reason = f"It expires in {left.days} days." if left > timedelta(0) else "It has expired: clients refuse it."
        expires = self._expires_at.isoformat()
        log.warning("tls.certificate_expires", file=str(self._files[0]), expires=expires, reason=reason)

    def _look(self) -> tuple[_Stamp | None, ...]:
        return tuple(map(_Stamp.of, self._files))

    def _load(self) -> tuple[dict[TlsVersion, ssl.SSLContext], datetime]:
        expires_at = _expiry(self._files[0])
        return {floor: _context(floor, *self._files) for floor in self._floors}, expires_at


def open_certificates(settings: Settings) -> Certificates | None:
    """The certificate of the settings, or None without one; CertificateError when it is of no use, or missing where a
    listener cannot do without it.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        needy = [str(one) for one in settings.listeners if one.implicit_tls or one.requires_tls]
        if needy:
            raise CertificateError(
                f"The listener {spoken(needy)} needs a certificate: set SESGATE_TLS_CERT_FILE and SESGATE_TLS_KEY_FILE,"
                " or make it a lan listener without tls."
            )
        return None
    return Certificates(settings.tls_cert_file, settings.tls_key_file, (one.min_tls for one in settings.listeners))


def why_failed(error: BaseException) -> str:
    """Why there was no handshake."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "no TLS").lower().replace("_", " ")
    if isinstance(error, ConnectionAbortedError):
        return "the client did not finish in time"
    return "the client left" if isinstance(error, OSError) else "the handshake was not finished"


def _expiry(cert_file: Path) -> datetime:
    try:
        return load_pem_x509_certificate(cert_file.read_bytes()).not_valid_after_utc
    except OSError as error:
        raise CertificateError(f"SESGATE_TLS_CERT_FILE: {cert_file} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise CertificateError(f"SESGATE_TLS_CERT_FILE: {cert_file} holds no certificate in PEM form.") from None


def _context(floor: TlsVersion, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A context that asks for no client certificate, with the ciphers that Python chose, and no renegotiation."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[floor]
    context.options |= ssl.OP_NO_RENEGOTIATION
    if floor == "1.0":
        context.set_ciphers(_ANTIQUE_CIPHERS)
    try:
        key_file.read_bytes()  # load_cert_chain does not say which of the two files it cannot open
        context.load_cert_chain(cert_file, key_file, _refuse_to_ask)
    except ssl.SSLError as error:
        raise CertificateError(_why_no_pair(error, cert_file, key_file)) from None
    except OSError as error:
        raise CertificateError(f"SESGATE_TLS_KEY_FILE: {key_file} cannot be read ({error.strerror}).") from None
    return context


def _refuse_to_ask() -> str:
    """In place of OpenSSL's question on the terminal."""
    raise CertificateError("The key in SESGATE_TLS_KEY_FILE is encrypted; give it without a password.")


def _why_no_pair(error: ssl.SSLError, cert_file: Path, key_file: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"SESGATE_TLS_KEY_FILE: {key_file} is not the key of the certificate in {cert_file}."
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return f"SESGATE_TLS_CERT_FILE: {cert_file} is too weak for TLS today ({error.reason}); get a stronger one."
    why = f" ({error.reason})" if error.reason else ""
    return f"SESGATE_TLS_KEY_FILE: {key_file} holds no private key in PEM form for {cert_file}{why}."
