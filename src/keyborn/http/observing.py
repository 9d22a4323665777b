"""Around an application: each request gets an id, is counted and timed, and logged if anybody wants that.

What is counted are routes, never paths: a path holds what a caller chose.
"""

import logging
from time import perf_counter_ns

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyborn.http.request_mark import HEADER, Mark, current
from keyborn.service import figures
from keyborn.service.meter import Meter

ACCESS = "keyborn.access"
_log = logging.getLogger(ACCESS)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_INTERNAL = 500
_MILLISECOND = 1_000_000
_PREFIX = "/v1/"
NOUNS = frozenset(
    {
        "about",
        "api-keys",
        "approvals",
        "audit",
        "authorities",
        "groups",
        "policies",
        "registered",
        "roots",
        "services",
        "simulations",
        "things",
        "tokens",
    }
)
"""What the routes of operators are about: the second part of their paths."""


class Observing:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, meter: Meter, *, access_log: bool = False) -> None:
        """``access_log``: whether each request is a line of the log ``keyborn.access``."""
        self._app = app
        self._meter = meter
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the answer gets the id."""
        began, mark = perf_counter_ns(), Mark()
        status = _INTERNAL

        async def _send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, mark.id.encode())]
            await send(message)

        token = current.set(mark)
        try:
            await self._app(scope, receive, _send)
        finally:
            self._note(scope, mark, status, perf_counter_ns() - began)
            current.reset(token)

    def _note(self, scope: Scope, mark: Mark, status: int, took: int) -> None:
        route = route_of(scope["path"])
        self._meter.observe(took, figures.HTTP_SECONDS, route, f"{status // 100}xx")
        if mark.code:
            self._meter.count(figures.HTTP_PROBLEMS, route, mark.code)
        if self._access_log:
            _tell(scope, route, status, took)


def route_of(path: str) -> str:
    """The name under which a path is counted."""
    if path in figures.PATHS:
        return path
    is_operators = path.startswith(_PREFIX) and path[len(_PREFIX) :].partition("/")[0] in NOUNS
    return figures.OPERATOR if is_operators else figures.OTHER


def _tell(scope: Scope, route: str, status: int, took: int) -> None:
    method = scope["method"] if scope["method"] in _METHODS else figures.OTHER
    client = scope["client"]
    fields = {
        "method": method,
        "route": route,
        "status": status,
        "milliseconds": round(took / _MILLISECOND, 3),
        "source": client[0] if client else "",
    }
    words = " ".join(f"{name}={value}" for name, value in fields.items() if value != "")
    _log.info("%s", words, extra={"fields": fields})
