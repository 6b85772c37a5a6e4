"""The Flask application of the simulated AWS: who answers which request."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from gateway.sandbox import oracle, query, sesv2, sqs
from gateway.sandbox.calls import Calls, hung_up
from gateway.sandbox.errors import AwsError, as_v1, named
from gateway.sandbox.fallback import Fallback
from gateway.sandbox.query import Parameters
from gateway.sandbox.sesv1 import SENDS, SesV1
from gateway.sandbox.sesv2_identities import IdentityApi
from gateway.sandbox.sesv2_resources import ConfigurationSetApi, EventDestinationApi
from gateway.sandbox.sesv2_suppression import SuppressionApi
from gateway.sandbox.sesv2_tags import TagApi
from gateway.sandbox.sns import Sns
from gateway.sandbox.sqs import Caller, Sqs
from gateway.sandbox.state import State

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = structlog.get_logger(__name__)

_SCOPE: Final = re.compile(r"Credential=[^/]+/[0-9]{8}/[^/]+/([A-Za-z0-9-]+)/aws4_request")
_OURS: Final = frozenset({None, "ses", "email", "sns", "sqs"})
_LARGE: Final = 1024 * 1024
_LARGE_AT_A_TIME: Final = 2
_MAX_BODY: Final = 96 * 1024 * 1024
"""More than the largest legal call (40 MB of base64, percent-encoded), so that SES's own refusal is what one sees."""


def create_app(state: State) -> Flask:
    """Our own services; everything else goes to moto."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY
    calls = Calls(state.faults, state.stopping)
    app.register_blueprint(oracle.blueprint(state.resources, state.account, state.faults, state.fates))
    app.register_blueprint(sesv2.blueprint(_v2_routes(state), calls))
    queues = QueueService(state, calls)
    app.add_url_rule("/", view_func=QueryServices(state, calls, queues), methods=["GET", "POST"], endpoint="query")
    # Some SDKs post to the URL of the queue.
    app.add_url_rule(f"/{state.config.account_id}/<queue>", view_func=queues, methods=["POST"], endpoint="queues")
    app.add_url_rule(state.signing.certificate_path, view_func=_certificate(state), endpoint="certificate")
    app.register_error_handler(Exception, _unforeseen)
    app.wsgi_app = Gate(app.wsgi_app, Fallback(state.config.account_id))  # type: ignore[method-assign] # Flask's own way
    return app


def _v2_routes(state: State) -> list[sesv2.Route]:
    resources = state.resources
    apis = (
        sesv2.Sending(state.ses, state.account, resources.copies),
        ConfigurationSetApi(state.config, resources),
        EventDestinationApi(state.config, resources, state.publisher),
        IdentityApi(state.config, resources),
        SuppressionApi(resources.suppressions, state.account),
        TagApi(state.config, resources),
    )
    return [route for api in apis for route in api.routes()]


def _certificate(state: State) -> Callable[[], Response]:
    def certificate() -> Response:
        return Response(state.signing.certificate_pem, mimetype="application/x-pem-file")

    return certificate


def _service(authorization: str | None) -> str | None:
    """The service in the credential scope of a signed request; None if nobody signed it."""
    found = _SCOPE.search(authorization or "")
    return found[1].lower() if found is not None else None


class QueueService:
    """SQS with its JSON protocol, in which the operation stands in a header."""

    def __init__(self, state: State, calls: Calls) -> None:
        self._calls = calls
        self._sqs = Sqs(state.config, state.resources)
        # Flask asks a view function for its name.
        self.__name__ = "queues"

    def __call__(self, queue: str | None = None) -> Response:  # noqa: ARG002 - Flask's name for the path; the body has it
        try:
            return sqs.answer(self._answer(request.headers.get("X-Amz-Target", "")))
        except AwsError as error:
            return sqs.answer_error(error)

    def _answer(self, target: str) -> dict[str, Any]:
        if not target.startswith(sqs.TARGET_PREFIX):
            raise named("InvalidAction", "The simulated SQS speaks AWS JSON 1.0, as SDKs do since the end of 2023.")
        action = target.removeprefix(sqs.TARGET_PREFIX)
        self._calls.before(action)
        return self._sqs.call(action, request.get_data(cache=False), Caller(request.host_url, hung_up))


class QueryServices:
    """SES v1, SNS and SQS share one URL. An unsigned request is for SNS: its confirmation and unsubscribe links."""

    def __init__(self, state: State, calls: Calls, queues: QueueService) -> None:
        self._calls = calls
        self._queues = queues
        self._ses = SesV1(state.config, state.ses, state.account, state.resources, state.publisher)
        self._sns = Sns(state.config, state.resources, state.publisher)
        # Flask asks a view function for its name.
        self.__name__ = "query"

    def __call__(self) -> Response:
        service = _service(request.headers.get("Authorization"))
        if service == "sqs":
            return self._queues()
        namespace = query.SES_NAMESPACE if service in {"ses", "email"} else query.SNS_NAMESPACE
        try:
            parameters = Parameters.parse(request.query_string, request.get_data(cache=False))
            return self._answer(service, namespace, parameters)
        except AwsError as error:
            shown = as_v1(error) if namespace == query.SES_NAMESPACE else error
            return Response(query.render_error(shown, namespace), shown.status, mimetype=query.CONTENT_TYPE)

    def _answer(self, service: str | None, namespace: str, parameters: Parameters) -> Response:
        action = parameters.get("Action")
        if action is None:
            raise named("MissingAction", "The simulated AWS is listening. This request names no action.")
        self._calls.before(action)
        if namespace == query.SES_NAMESPACE:
            result = self._ses.call(action, parameters)
        else:
            result = self._sns.call(action, parameters, signed=service is not None)
        response = Response(query.render(action, namespace, result), mimetype=query.CONTENT_TYPE)
        sent = namespace == query.SES_NAMESPACE and action in SENDS
        return self._calls.accepted(response) if sent else response


def _unforeseen(error: Exception) -> Response | HTTPException:
    """Anything nobody thought of is an internal failure, told the way AWS tells it."""
    if isinstance(error, HTTPException):
        return error
    _log.exception("sandbox_call_failed", path=request.path)
    failure = named("InternalFailure", "The sandbox failed; its log says why.")
    if "X-Amz-Target" in request.headers:
        return sqs.answer_error(failure)
    if request.path.startswith(sesv2.PREFIX):
        return sesv2.answer_error(failure)
    return Response(query.render_error(failure, query.SES_NAMESPACE), failure.status, mimetype=query.CONTENT_TYPE)


class Gate:
    """Before Flask: other services go to moto. Large calls are few at a time, for each takes several times its size."""

    def __init__(self, ours: WSGIApplication, others: WSGIApplication) -> None:
        self._ours = ours
        self._others = others
        self._large = threading.BoundedSemaphore(_LARGE_AT_A_TIME)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _service(environ.get("HTTP_AUTHORIZATION")) not in _OURS:
            return self._others(environ, start_response)
        if int(environ.get("CONTENT_LENGTH") or 0) < _LARGE:
            return self._ours(environ, start_response)
        with self._large:
            return self._ours(environ, start_response)
