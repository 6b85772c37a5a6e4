"""What tests and people ask the sandbox itself, under `/_sandbox`: accepted copies, faults, fates, the account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, request

from gateway.sandbox import account, fates, faults
from gateway.sandbox.account import AccountDesk
from gateway.sandbox.fates import FateDesk
from gateway.sandbox.faults import FaultDesk
from gateway.sandbox.resources import Resources
from gateway.sandbox.strict import InvalidValueError


def blueprint(resources: Resources, accounts: AccountDesk, desk: FaultDesk, fate_desk: FateDesk) -> Blueprint:
    """A PUT replaces the whole: what it does not name gets its default, so `{}` resets."""
    made = Blueprint("oracle", __name__, url_prefix="/_sandbox")

    @made.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "ok"})

    @made.get("/messages")
    def messages() -> Response:
        return _lines(resources.copies.listed())

    @made.delete("/messages")
    def clear() -> Response:
        resources.copies.clear()
        return Response(status=204)

    @made.get("/messages/<message_id>/raw")
    def raw(message_id: str) -> Response:
        found = resources.copies.raw(message_id)
        if found is None:
            return _json({"error": f"No accepted copy has the id {message_id}."}, 404)
        return Response(found, mimetype="message/rfc822")

    @made.get("/notifications")
    def notifications() -> Response:
        return _lines(resources.outbox.log())

    @made.route("/faults", methods=["GET", "PUT"])
    def faults_now() -> Response:
        return _put_or_get(lambda given: desk.replace(faults.parse(given)), lambda: asdict(desk.faults))

    @made.route("/account", methods=["GET", "PUT"])
    def account_now() -> Response:
        return _put_or_get(lambda given: accounts.replace(account.parse(given)), lambda: asdict(accounts.account))

    @made.route("/fates", methods=["GET", "PUT", "DELETE"])
    def fates_now() -> Response:
        if request.method == "DELETE":
            fate_desk.replace({})
            return Response(status=204)
        return _put_or_get(lambda given: fate_desk.replace(fates.parse(given)), lambda: fates.shown(fate_desk.fates))

    return made


def _put_or_get(put: Callable[[object], None], get: Callable[[], dict[str, Any]]) -> Response:
    if request.method == "PUT":
        try:
            put(json.loads(request.get_data()))
        except InvalidValueError as error:
            return _json({"error": str(error)}, 400)
        except ValueError:
            return _json({"error": "The body is not JSON."}, 400)
    return _json(get())


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(value) + "\n", status, mimetype="application/json")


def _lines(rows: Iterable[dict[str, Any]]) -> Response:
    """JSON lines, written while they are read."""

    def written() -> Iterator[str]:
        for row in rows:
            yield json.dumps(row) + "\n"

    return Response(written(), mimetype="application/jsonl")
