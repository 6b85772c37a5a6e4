"""Sends one mail with Django: a job as JSON on standard input, the outcome as JSON on standard output."""

from __future__ import annotations

import base64
import json
import os
import smtplib
import sys

from django.conf import settings
from django.core.mail import EmailMessage


def main() -> None:
    job = json.load(sys.stdin)
    server = job["server"]
    # Django trusts the authorities of the system, and has no setting for another one.
    os.environ["SSL_CERT_FILE"] = server["ca_file"]
    settings.configure(
        EMAIL_HOST=server["host"],
        EMAIL_PORT=server["port"],
        EMAIL_USE_TLS=server["security"] == "starttls",
        EMAIL_USE_SSL=server["security"] == "tls",
        EMAIL_HOST_USER=server["user"],
        EMAIL_HOST_PASSWORD=server["secret"],
    )
    mail = EmailMessage(job["subject"], job["text"], job["sender"], job["recipients"])
    mail.attach(job["file_name"], base64.b64decode(job["file"]), "application/octet-stream")
    print(json.dumps(_sent(mail)))


def _sent(mail: EmailMessage) -> dict[str, object]:
    try:
        return {"sent": mail.send()}
    except smtplib.SMTPRecipientsRefused as refused:
        return {"refused": {address: reply[0] for address, reply in refused.recipients.items()}}


if __name__ == "__main__":
    main()
