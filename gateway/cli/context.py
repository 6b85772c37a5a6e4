"""What a command works with: the settings, the stores, and who asked."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ulid import ULID

from gateway.addresses import AddressError, Mailbox, parse_mailbox
from gateway.cli.errors import UsageError
from gateway.settings import Settings, load_dotenv_into, read_settings
from gateway.store.stores import Stores, open_stores


def load_settings() -> Settings:
    """Read the settings once, with `.env` of the working directory put into the environment before.

    SettingsError when one is unknown or malformed.
    """
    load_dotenv_into(os.environ, Path.cwd())
    return read_settings(os.environ)


@contextmanager
def opened_stores(settings: Settings) -> Iterator[Stores]:
    """The stores for the length of a command; StoreError when they cannot be opened."""
    stores = open_stores(settings)
    try:
        yield stores
    finally:
        stores.close()


def actor() -> str:
    """Who the audit says did it: the name of the operating system's user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # A container may run under a number that nobody gave a name.
        return f"uid {os.getuid()}"


def mailbox_argument(text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except AddressError as error:
        raise UsageError(f"{text!r} is no address: {error}.") from None


def message_id_argument(text: str) -> str:
    try:
        return str(ULID.from_str(text.upper()))
    except ValueError:
        raise UsageError(f"{text!r} is no message id; it has 26 letters and digits, as in the reply to DATA.") from None
