"""The HTTP edge's one map: the error tree to problem documents (RFC 9457).

A KeybornError speaks for itself; anything else is ``internal`` and says nothing. 429 and 503 carry
Retry-After, and so does 202, which is no problem: a person has to decide.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from keyborn.domain import errors
from keyborn.http.bodies import PendingAnswer
from keyborn.http.request_mark import current

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger("keyborn.http")

STATUS: tuple[tuple[type[errors.KeybornError], HTTPStatus], ...] = (
    (errors.AwaitsApproval, HTTPStatus.ACCEPTED),
    (errors.InputError, HTTPStatus.BAD_REQUEST),
    (errors.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.Forbidden, HTTPStatus.FORBIDDEN),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.Throttled, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.Queued, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.AwsThrottled, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.OperatorError, HTTPStatus.CONFLICT),
)
"""Branches of the error tree, and the status their leaves answer with; the first that fits counts."""


_SIGNED = (
    errors.SignatureRefused,
    errors.SignedForElsewhere,
    errors.GroupKeyRefused,
    errors.FactoryRefused,
    errors.FactoryExpired,
    errors.FactoryNotYet,
    errors.GroupKeyExpired,
)
"""Where no token helps. ``JWS`` is no registered scheme; an answer 401 must name one (RFC 9110, 11.6.1)."""


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document: ``code`` is stable, ``detail`` says what happened and what to do."""

    title: str
    status: int
    code: str
    detail: str
    type: str = "about:blank"
    request_id: str = msgspec.field(name="requestId", default="")
    """Under which the service's log knows the request; left out where it has none."""


def answer_problem(error: errors.KeybornError) -> Response:
    """The response for a public error; an error of no public branch is ``internal``."""
    if isinstance(error, errors.AwaitsApproval):
        return _pending(error)
    status = next((status for branch, status in STATUS if isinstance(error, branch)), None)
    if status is None:
        _log.error("an internal error reached the edge: %s", type(error).__name__)
        return internal_problem()
    return _respond(status, error.code, str(error), _headers(error, status))


def _pending(error: errors.AwaitsApproval) -> Response:
    """No problem: the request waits for a person."""
    facts = error.facts
    body = PendingAnswer(str(facts["approval"]), str(facts["words"]), str(error))
    headers = _headers(error, HTTPStatus.ACCEPTED)
    return Response(msgspec.json.encode(body), 202, media_type="application/json", headers=headers)


def internal_problem() -> Response:
    """The response for a fault of ours: says nothing more."""
    return _respond(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", errors.KeybornError.sentence, {})


async def on_keyborn_error(_request: Request, error: Exception) -> Response:
    """Starlette's handler for the error tree."""
    assert isinstance(error, errors.KeybornError)
    return answer_problem(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for 404 and 405 of the router.

    A 405 names the methods of every route of its path (RFC 9110, 15.5.6); the router names one route's.
    """
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        return not_allowed(methods_at(request.app.routes, request.scope["path"]))
    return _no_route(status, headers)


def not_allowed(methods: Iterable[str]) -> Response:
    """405, which names what is answered at that path."""
    return _no_route(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(sorted(methods))})


def methods_at(routes: Iterable[BaseRoute], path: str) -> set[str]:
    """What is answered at ``path``."""
    those = (each for each in routes if isinstance(each, Route))
    found = [each.methods or set() for each in those if each.path_regex.match(path)]
    return set().union(*found)


def _no_route(status: HTTPStatus, headers: dict[str, str]) -> Response:
    sentence = f"{status.description or status.phrase}. The routes are listed in /openapi.json"
    return _respond(status, status.phrase.lower().replace(" ", "_"), sentence, headers)


async def on_fault(_request: Request, error: Exception) -> Response:
    """Starlette's handler for everything unforeseen: logged by type and place, never by content."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    _log.error("unforeseen %s at %s", type(error).__name__, place)
    return internal_problem()


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    errors.KeybornError: on_keyborn_error,
    HTTPException: on_http_error,
    Exception: on_fault,
}
"""What every application of ours hands to Starlette."""


def _headers(error: errors.KeybornError, status: HTTPStatus) -> dict[str, str]:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if status is HTTPStatus.UNAUTHORIZED:
        scheme = "JWS" if isinstance(error, _SIGNED) else "Bearer"
        headers["WWW-Authenticate"] = f'{scheme} realm="keyborn"'
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers["Connection"] = "close"
    return headers


def _respond(status: HTTPStatus, code: str, detail: str, headers: dict[str, str]) -> Response:
    mark = current.get()
    problem = Problem(title=status.phrase, status=int(status), code=code, detail=detail)
    if mark is not None:
        mark.code, problem.request_id = code, mark.id
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)
