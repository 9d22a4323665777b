"""Which handler answers: one look into a table for the paths of devices, Starlette's router for all others.

A device's path has no parameters, so that nothing is searched. What is raised becomes a problem document here
as it does in Starlette, by the same map (``problems.HANDLERS``).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from keyborn.http import problems
from keyborn.http.incoming import Incoming

Act = Callable[[Incoming], Awaitable[Response]]
Door = tuple[str, str, Act]
"""A method, an exact path, and what answers there."""


class Dispatch:
    """The ASGI application of a service: the doors of devices, and beside them any routes of Starlette."""

    def __init__(self, doors: Iterable[Door]) -> None:
        self._doors: dict[str, dict[str, Act]] = {}
        for method, path, act in doors:
            self._doors.setdefault(path, {})[method] = act
            if method == "GET":
                self._doors[path]["HEAD"] = act
        self._rest = Starlette(exception_handlers=problems.HANDLERS)
        self._rest.router.redirect_slashes = False  # it would send a caller where its own Host header says

    def add(self, routes: Sequence[BaseRoute]) -> None:
        """Answer these too; where a door has the same path and method, the door is first."""
        self._rest.router.routes.extend(routes)

    def answers(self, path: str, method: str) -> bool:
        """Whether a door does."""
        return method in self._doors.get(path, {})

    @property
    def routes(self) -> list[BaseRoute]:
        """What has been added."""
        return self._rest.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        methods = self._doors.get(scope["path"])
        if methods is None:
            await self._rest(scope, receive, send)
            return
        act = methods.get(scope["method"])
        if act is None and scope["method"] in self._added(scope["path"]):
            await self._rest(scope, receive, send)
            return
        scope["app"] = self
        response = self._not_allowed(scope["path"]) if act is None else await _answer(act, scope, receive)
        await response(scope, receive, send)

    def _not_allowed(self, path: str) -> Response:
        return problems.not_allowed(self._doors[path].keys() | self._added(path))

    def _added(self, path: str) -> set[str]:
        """What added routes answer at ``path``."""
        return problems.methods_at(self._rest.routes, path)


async def _answer(act: Act, scope: Scope, receive: Receive) -> Response:
    """The answer of ``act``, or the problem document of what it raised."""
    try:
        return await act(Incoming(scope, receive))
    except Exception as error:  # noqa: BLE001 - the map has a handler for each
        handler = next(problems.HANDLERS[kind] for kind in type(error).__mro__ if kind in problems.HANDLERS)
        return await handler(Request(scope), error)
