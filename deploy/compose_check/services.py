"""Whether the services fit together, and are as shut as they are meant to be."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.compose.make_secrets import make_secrets
from deploy.compose_check.composefile import FILE, Compose, Service

_LOOPBACK = ("127.0.0.1:", "[::1]:")


def check_references(compose: Compose) -> Iterator[str]:
    """Every service, network and volume that is named exists, and can be waited for as it is."""
    for service in compose.services.values():
        for name, condition in service.depends_on.items():
            yield from _check_dependency(service, name, condition, compose)
        for network in service.raw.get("networks") or ():
            if network not in (compose.raw.get("networks") or {}):
                yield f"{FILE}: {service.name} is on the network {network}, which is not declared."
        for volume in _named_volumes(service):
            if volume not in (compose.raw.get("volumes") or {}):
                yield f"{FILE}: {service.name} uses the volume {volume}, which is not declared."


def _check_dependency(service: Service, name: str, condition: str, compose: Compose) -> Iterator[str]:
    if name not in compose.services:
        yield f"{FILE}: {service.name} depends on {name}, which is no service."
    elif condition == "service_healthy" and not compose.services[name].has_health_check:
        yield f"{FILE}: {service.name} waits for {name} to be healthy, which has no health check."
    elif condition == "service_completed_successfully" and compose.services[name].raw.get("restart") != "no":
        yield f'{FILE}: {service.name} waits for {name} to end, which is started again; give it restart: "no".'


def _named_volumes(service: Service) -> Iterator[str]:
    for entry in service.raw.get("volumes") or ():
        source = entry.split(":")[0] if isinstance(entry, str) else entry.get("source", "")
        if source and not source.startswith((".", "/", "~")):
            yield source


def check_secrets(compose: Compose) -> Iterator[str]:
    """Every secret is declared, made by make_secrets.py, and given to exactly the services that read it."""
    made = make_secrets()
    for name, file in compose.secret_files.items():
        if name not in made:
            yield f"{FILE}: make_secrets.py makes no secret {name}."
        elif file != f"deploy/compose/secrets/{name}":
            yield f"{FILE}: make_secrets.py writes the secret {name} to deploy/compose/secrets/{name}, not to {file}."
    for service in compose.services.values():
        for name in sorted(service.secrets - set(compose.secret_files)):
            yield f"{FILE}: {service.name} is given the secret {name}, which is not declared."
        for name in sorted(service.mentioned_secrets - service.secrets):
            yield f"{FILE}: {service.name} reads the secret {name}, which it is not given."
        for name in sorted(service.secrets - service.mentioned_secrets):
            yield f"{FILE}: {service.name} is given the secret {name}, which it does not read."


def check_exposure(compose: Compose) -> Iterator[str]:
    """What is published is published on loopback, and no container has more rights than it needs."""
    for service in compose.services.values():
        for port in service.raw.get("ports") or ():
            if not _is_on_loopback(port):
                yield f"{FILE}: {service.name} publishes {port} to the network; publish it on 127.0.0.1."
        yield from _check_rights(service)


def _is_on_loopback(port: object) -> bool:
    if isinstance(port, dict):
        return str(port.get("host_ip", "")) in {"127.0.0.1", "::1"}
    return str(port).startswith(_LOOPBACK)


def _check_rights(service: Service) -> Iterator[str]:
    if service.raw.get("read_only") is not True:
        yield f"{FILE}: the root of {service.name} can be written to; set read_only: true."
    if service.raw.get("cap_drop") != ["ALL"]:
        yield f"{FILE}: {service.name} keeps capabilities; set cap_drop: [ALL]."
    if service.raw.get("cap_add") or service.raw.get("privileged"):
        yield f"{FILE}: {service.name} is given privileges; it needs none."
    if "no-new-privileges:true" not in (service.raw.get("security_opt") or ()):
        yield f"{FILE}: {service.name} may gain privileges; set security_opt: no-new-privileges:true."
    user = str(service.raw.get("user", "")).partition(":")[0]
    if user in {"0", "root"} or (not user and not service.is_ours):
        yield f"{FILE}: {service.name} runs as root; set user."
