"""SES's account-level list for commands: reached as AWS is configured here, and only for the data of that AWS."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.aws.session import clients
from gateway.aws.suppression_list import AccountList, AccountListError, AddressRefusedError, Pace
from gateway.cli.errors import CommandError
from gateway.store.db import Database
from gateway.store.schema import read_stamp, require_stamp, stamp_of_environment


def account_list(database: Database) -> AccountList:
    """SES's list as AWS is configured here. CommandError when it is not, or not for this data's AWS."""
    account = AccountList(clients(), Pace())
    try:
        endpoint = account.endpoint
    except AccountListError as error:
        raise CommandError(str(error)) from error
    wanted = stamp_of_environment({"AWS_ENDPOINT_URL": endpoint})
    if wanted == "aws" and read_stamp(database) == "sandbox":
        raise CommandError(
            "This data was accepted for the simulated AWS, and this shell would ask a real account"
            ' (eval "$(sesgate sandbox env)" points it at the simulation).'
        )
    require_stamp(database, wanted)
    return account


def deleted_at_ses(account: AccountList, spellings: Iterable[str]) -> list[str]:
    """Lift each of these spellings; those that SES had. AccountListError when it could not be asked."""
    return [address for address in spellings if _is_deleted(account, address)]


def _is_deleted(account: AccountList, address: str) -> bool:
    try:
        return account.delete(address)
    except AddressRefusedError:  # What SES takes for no address it does not list either.
        return False
