"""`sesgate smtp`: the SMTP front alone."""

from __future__ import annotations

import click

from gateway.cli.context import load_settings, opened_stores
from gateway.cli.errors import CommandError
from gateway.cli.help import example
from gateway.logs import configure_logs
from gateway.smtp.server import ListenError, run
from gateway.smtp.tls import CertificateError


@click.command(epilog=example('SESGATE_LISTENERS="0.0.0.0:2525 lan" sesgate smtp'))
def command() -> None:
    """Run the SMTP front, on SESGATE_LISTENERS."""
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_addresses)
    with opened_stores(settings) as stores:
        try:
            run(settings, stores)
        except (ListenError, CertificateError) as error:
            raise CommandError(str(error)) from error
