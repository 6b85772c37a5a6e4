"""How fast the webhook takes notifications, against an endpoint of the same server that does nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Shot, Stand, UnsoundError
from benchmarks.gateway_programs import SESGATE, Gateway, flush, gateway
from benchmarks.http_load import post_all
from gateway.cli.programs import webhook_argv
from gateway.sandbox import names
from gateway.setting_values import HostPort
from gateway.settings import Settings
from gateway.store.stores import Stores
from tests.support.payloads.ses import delivery, event
from tests.support.ports import free_port
from tests.support.redis import Redis
from tests.support.sns import Signer

_NAME = "webhook"
_CONNECTIONS = 16
_GRANIAN = "webhook-granian"
_SERVER = "granian"
_PEER = "a null endpoint of the same server"


def measurements() -> tuple[Measurement, ...]:
    bar = Bar(Kind.TIMES_AT_LEAST, 0.35, 0.45)
    title = f"webhook: verified and stored, {_CONNECTIONS} connections"
    none = Bar(Kind.TIMES_AT_LEAST, None, None)
    other = Figure(_GRANIAN, "webhook served by granian", "notifications/s", none, "by gunicorn")
    return (
        Measurement(_NAME, (Figure(_NAME, title, "notifications/s", bar, _PEER),), _set_up),
        Measurement(_GRANIAN, (other,), _set_up_granian),
    )


@contextmanager
def _set_up(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    notifications = stand.amount(4000, 32)
    null_port = free_port()
    with Redis() as redis, gateway(stand, SESGATE_BROKER_URL=redis.url) as product, product.stores() as stores:
        signer = _trusted_signer(product)
        with (
            product.web((*SESGATE, "webhook"), "webhook", product.webhook_port, "/readyz"),
            product.web(_null_argv(null_port), "null", null_port, "/readyz"),
        ):
            ours = partial(_notify, product.webhook_port, stores, signer, notifications)
            yield {_NAME: Pair(ours, partial(_post, null_port, signer, notifications))}


@contextmanager
def _set_up_granian(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    """Two webhooks over one database, by the servers there are to choose from."""
    notifications, port = stand.amount(4000, 32), free_port()
    argv = (
        *(sys.executable, "-m", _SERVER, "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--blocking-threads", str(_CONNECTIONS), "benchmarks.granian_web:app"),
    )
    with Redis() as redis, gateway(stand, SESGATE_BROKER_URL=redis.url) as product, product.stores() as stores:
        signer = _trusted_signer(product)
        with (
            product.web((*SESGATE, "webhook"), "webhook", product.webhook_port, "/readyz"),
            product.web(argv, _SERVER, port, "/readyz"),
        ):
            notify = partial(_notify, stores=stores, signer=signer, number=notifications)
            yield {_GRANIAN: Pair(partial(notify, port), partial(notify, product.webhook_port))}


def _null_argv(port: int) -> tuple[str, ...]:
    """What `sesgate webhook` becomes, but for the application."""
    argv = webhook_argv(Settings(webhook_listen=HostPort("127.0.0.1", port)))
    if "webhook.wsgi:app" not in argv:
        raise UnsoundError(f"the application cannot be found in {argv}")
    return tuple("benchmarks.null_web:app" if word == "webhook.wsgi:app" else word for word in argv)


def _trusted_signer(product: Gateway) -> Signer:
    """With a certificate that the webhook takes for that of the simulated AWS."""
    signer = Signer.make(region=names.REGION, topic_arn=names.TOPIC_ARN)
    directory = product.directory / names.DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / names.SIGNING_CERTIFICATE_FILE).write_bytes(signer.certificate_pem)
    return signer


def _bodies(signer: Signer, number: int) -> list[bytes]:
    """Each is signed by itself, and none was seen before."""
    message = json.dumps(event("Delivery", delivery=delivery()))
    return [signer.notification(message) for _ in range(number)]


def _notify(port: int, stores: Stores, signer: Signer, number: int) -> Shot:
    before = _stored(stores)
    shot = _post(port, signer, number)
    if (kept := _stored(stores) - before) != number:
        raise UnsoundError(f"of {number} notifications {kept} were stored")
    return shot


def _post(port: int, signer: Signer, number: int) -> Shot:
    bodies = _bodies(signer, number)
    flush()
    return Shot(number / post_all(port, bodies, _CONNECTIONS))


def _stored(stores: Stores) -> int:
    with stores.db.read() as sql:
        return int(sql.value("SELECT count(*) FROM notifications"))
