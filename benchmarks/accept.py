"""How fast mail is accepted durably, against Postfix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from benchmarks.frame import Bar, Figure, Kind, Measurement, Pair, Shot, SkippedError, Stand, UnsoundError
from benchmarks.gateway_programs import Gateway, flush, gateway
from benchmarks.postfix import Load, Postfix, find, holding_postfix, send
from benchmarks.slow_sync import build, require_loaded
from gateway.store.stores import Stores

PEER = "Postfix accepting to HOLD, fsync, no delivery"
_UNIT = "messages/s"


def measurements() -> tuple[Measurement, ...]:
    return (
        _accept("accept-kept", "accept 2 KB, kept connections, 20 sessions", Load(8000, 2048), must=1.8, goal=2.4),
        _accept(
            "accept-single",
            "accept 2 KB, one message per connection, 20 sessions",
            Load(5000, 2048, keep=False),
            must=1.3,
            goal=1.6,
        ),
        _accept(
            "accept-large", "accept 100 KB, kept connections, 20 sessions", Load(3000, 102_400), must=0.9, goal=1.2
        ),
        _accept(
            "accept-slow-disk",
            "accept 2 KB with 1 ms added to every fsync, 100 sessions",
            Load(8000, 2048, sessions=100),
            must=2,
            goal=3,
            slow=True,
        ),
    )


def _accept(name: str, title: str, load: Load, *, must: float, goal: float, slow: bool = False) -> Measurement:
    figure = Figure(name, title, _UNIT, Bar(Kind.TIMES_AT_LEAST, must, goal), PEER)
    return Measurement(name, (figure,), partial(_set_up, name=name, load=load, slow=slow))


def quick_load(load: Load) -> Load:
    """A handful of the same."""
    return Load(2 * load.sessions, load.octets, load.sessions, load.keep)


def _set_up(stand: Stand, *, name: str, load: Load, slow: bool) -> AbstractContextManager[Mapping[str, Pair]]:
    chosen = quick_load(load) if stand.plan.quick else load
    return _side_by_side(stand, name, chosen) if not slow else _on_a_slow_disk(stand, name, chosen)


@contextmanager
def _side_by_side(stand: Stand, name: str, load: Load) -> Iterator[Mapping[str, Pair]]:
    find("smtp-source")
    with (
        gateway(stand) as product,
        product.smtp(),
        product.stores() as stores,
        holding_postfix(stand.directory) as postfix,
    ):
        yield {name: Pair(partial(fire, product, stores, load), partial(_fire_at_postfix, postfix, load))}


@contextmanager
def _on_a_slow_disk(stand: Stand, name: str, load: Load) -> Iterator[Mapping[str, Pair]]:
    if stand.plan.database != "sqlite":
        raise SkippedError("the library is preloaded into the front, and PostgreSQL syncs in a server of its own")
    find("smtp-source")
    library = build(stand.directory)
    with (
        gateway(stand) as product,
        product.smtp(library) as front,
        product.stores() as stores,
        holding_postfix(stand.directory, library) as postfix,
    ):
        require_loaded(front, library)
        peer = partial(_fire_at_postfix, postfix, load, lambda: postfix.require_preloaded(library))
        yield {name: Pair(partial(fire, product, stores, load), peer)}


def fire(product: Gateway, stores: Stores, load: Load) -> Shot:
    """At our front; all must be in the database."""
    product.renew_identities(stores)
    before = stored(stores)
    flush()
    shot = send(load, product.port)
    _require(stored(stores) - before, load, "sesgate")
    return shot


def stored(stores: Stores) -> int:
    """How many messages the database has; nothing deletes any here."""
    with stores.db.read() as sql:
        return int(sql.value("SELECT count(*) FROM messages"))


def _fire_at_postfix(postfix: Postfix, load: Load, check: Callable[[], None] = lambda: None) -> Shot:
    flush()
    shot = send(load, postfix.port)
    check()
    _require(postfix.accepted(), load, "Postfix")
    return shot


def _require(kept: int, load: Load, who: str) -> None:
    if kept != load.messages:
        raise UnsoundError(f"{who} was sent {load.messages} messages and keeps {kept}")
