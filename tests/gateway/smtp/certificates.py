"""Certificates for fronts under test, signed by an authority of the test run's own."""

from __future__ import annotations

import ssl
import tempfile
import warnings
from datetime import datetime
from functools import cache
from pathlib import Path

import trustme

HOST = "127.0.0.1"


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def directory() -> Path:
    kept = tempfile.TemporaryDirectory()
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def write_pair(cert_file: Path, key_file: Path, *, expires_at: datetime | None = None) -> bytes:
    """Write a new pair, and give the certificate in DER as a client sees it."""
    issued = authority().issue_cert(HOST, not_after=expires_at)
    # The key first: who looks in between sees a pair that does not fit.
    key_file.write_bytes(issued.private_key_pem.bytes())
    cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def pair_in(where: Path) -> dict[str, Path]:
    """A pair on disk, as the settings that name it."""
    cert_file, key_file = where / "cert.pem", where / "key.pem"
    write_pair(cert_file, key_file)
    return {"tls_cert_file": cert_file, "tls_key_file": key_file}


@cache
def shared_pair() -> dict[str, Path]:
    return pair_in(directory())


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def antique_client_context() -> ssl.SSLContext:
    """TLS 1.0 and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context
