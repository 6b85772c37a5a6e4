"""The environment that keeps a program inside the simulated AWS."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.sandbox import names

_UNSET: Final = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
)
# The services the gateway may talk to. Any other AWS_ENDPOINT_URL_<SERVICE> found in the environment goes too.
_SERVICE_ENDPOINTS: Final = tuple(
    f"AWS_ENDPOINT_URL_{service}" for service in ("SES", "SESV2", "SNS", "SQS", "STS", "IAM", "CLOUDWATCH", "SSO")
)


def child_environment(
    endpoint: str,
    *,
    topic_arns: Iterable[str] = (names.TOPIC_ARN,),
    configuration_set: str = names.CONFIGURATION_SET,
    region: str = names.REGION,
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str | None]:
    """What to set (or, with None, to unset) so that boto3 and the gateway reach the sandbox and nothing else.

    Endpoints of single services beat AWS_ENDPOINT_URL, so each one in `inherited` (by default this process's
    environment) is unset, with every other source of real credentials.
    """
    present = os.environ if inherited is None else inherited
    stray = {name for name in present if name.startswith("AWS_ENDPOINT_URL_")}
    unset: dict[str, str | None] = dict.fromkeys(sorted({*_UNSET, *_SERVICE_ENDPOINTS, *stray}))
    return unset | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "SESGATE_SES_CONFIGURATION_SET": configuration_set,
        "SESGATE_SNS_TOPIC_ARNS": ",".join(topic_arns),
    }


def render_exports(environment: Mapping[str, str | None]) -> str:
    """Lines for `eval "$(sesgate sandbox env)"`."""
    lines = (
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
        for name, value in environment.items()
    )
    return "".join(f"{line}\n" for line in lines)
