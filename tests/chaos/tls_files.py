"""A certificate of the rig's own for the front, and what a client needs to believe it."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class TlsFiles:
    """The two files of a certificate for localhost. `renew` puts another one of the same authority in their place."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate = directory / "cert.pem"
        self.key = directory / "key.pem"
        self._authority = trustme.CA()
        self.renew()

    def renew(self) -> None:
        issued = self._authority.issue_cert("localhost", "127.0.0.1")
        pem = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        for file, content in ((self.key, issued.private_key_pem.bytes()), (self.certificate, pem)):
            fresh = file.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(file)

    @property
    def settings(self) -> dict[str, str]:
        return {"SESGATE_TLS_CERT_FILE": str(self.certificate), "SESGATE_TLS_KEY_FILE": str(self.key)}

    @property
    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context
