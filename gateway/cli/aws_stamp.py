"""Which AWS the calls of a command go to, and that the database is meant for that one."""

from __future__ import annotations

from typing import Final

from gateway.aws.session import Aws, Service
from gateway.cli.errors import UsageError
from gateway.store.db import Database
from gateway.store.schema import Stamp, require_stamp, stamp_of_environment

_WIRED: Final[tuple[Service, ...]] = ("sesv2", "ses", "sns", "sqs")


def require_one_aws(aws: Aws, database: Database) -> Stamp:
    """`sandbox` or `aws`, by where each service is really asked: variables and profiles may name one for each.

    UsageError when some are AWS's own and some are not, StoreError when the database is meant for the other.
    """
    endpoints = {service: aws.endpoint(service) for service in _WIRED}
    stamps = {service: stamp_of_environment({"AWS_ENDPOINT_URL": endpoint}) for service, endpoint in endpoints.items()}
    if len(set(stamps.values())) > 1:
        real = next(service for service, stamp in stamps.items() if stamp == "aws")
        other = next(service for service, stamp in stamps.items() if stamp != "aws")
        raise UsageError(
            f"{real} would be asked at {endpoints[real]}, which is AWS, and {other} at {endpoints[other]}, which is"
            " not; set AWS_ENDPOINT_URL for all services or for none."
        )
    require_stamp(database, stamps["sesv2"])
    return stamps["sesv2"]
