"""The key and certificate with which the simulated SNS signs, for real.

The canonical string is written here from AWS's description and not shared with the verifier: a mistake in one of them
shows instead of cancelling out. https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from gateway.sandbox import names, times

_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "1": hashes.SHA1(),  # noqa: S303 - what SNS's signature version 1 is
    "2": hashes.SHA256(),
}
_VALIDITY: Final = timedelta(days=3650)


def string_to_sign(envelope: Mapping[str, str]) -> bytes:
    """Name and value on a line each, in the order of the names; `Subject` only where there is one."""
    members = _NOTIFICATION if envelope["Type"] == "Notification" else _CONFIRMATION
    return "".join(f"{member}\n{envelope[member]}\n" for member in members if member in envelope).encode()


class SigningIdentity:
    """An RSA key and its self-signed certificate."""

    def __init__(self, key: rsa.RSAPrivateKey, certificate_pem: bytes) -> None:
        self._key = key
        self.certificate_pem = certificate_pem
        digest = hashlib.sha256(certificate_pem).hexdigest()[:32]
        self.certificate_path = f"/SimpleNotificationService-{digest}.pem"

    def signature(self, envelope: Mapping[str, str], version: str) -> str:
        signed = self._key.sign(string_to_sign(envelope), padding.PKCS1v15(), _HASHES[version])
        return base64.b64encode(signed).decode()


def load_or_create(directory: Path) -> SigningIdentity:
    """The identity kept in this directory. The certificate is written last: who finds it finds a whole one."""
    key_file, certificate_file = directory / names.SIGNING_KEY_FILE, directory / names.SIGNING_CERTIFICATE_FILE
    if key_file.exists() and certificate_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError(f"{key_file} holds no RSA key. Remove it, and the sandbox makes a new one.")
        return SigningIdentity(key, certificate_file.read_bytes())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write(key_file, _key_pem(key), mode=0o600)
    _write(certificate_file, _self_signed(key), mode=0o644)
    return SigningIdentity(key, certificate_file.read_bytes())


def _key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    started = times.now() - timedelta(days=1)  # A clock that is a little slow must not refuse it.
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(started)
        .not_valid_after(started + _VALIDITY)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Written aside and renamed, so that nobody ever reads half a file."""
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)
