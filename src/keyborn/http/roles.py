"""Which operator may call which route from elsewhere: said where the route is declared.

A route that says nothing is for the machine of the service alone, whatever role a key has: deny by default.
"""

from collections.abc import Awaitable, Callable, Collection

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.api_key import Role

Endpoint = Callable[[Request], Awaitable[Response]]


class OperatorRoute(Route):
    """A route with the least role that may call it, and the body that it takes."""

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        methods: Collection[str],
        role: Role | None,
        body: type[msgspec.Struct] | None = None,
        query: Collection[str] = (),
    ) -> None:
        """``role`` None: nobody from elsewhere. ``query``: parameters that it reads, beside the page's."""
        super().__init__(path, endpoint, methods=methods)
        self.role = role
        self.body = body
        self.query = tuple(query)


def look(path: str, endpoint: Endpoint, query: Collection[str] = ()) -> OperatorRoute:
    """``GET``, which changes nothing: for viewers."""
    return OperatorRoute(path, endpoint, methods=["GET"], role=Role.VIEWER, query=query)


def ask(path: str, endpoint: Endpoint, body: type[msgspec.Struct] | None = None) -> OperatorRoute:
    """``POST`` of a question, which changes nothing either: for viewers."""
    return OperatorRoute(path, endpoint, methods=["POST"], role=Role.VIEWER, body=body)


def decide(
    method: str, path: str, endpoint: Endpoint, body: type[msgspec.Struct] | None = None
) -> OperatorRoute:
    """A decision about somebody who asks to enrol: for approvers."""
    return OperatorRoute(path, endpoint, methods=[method], role=Role.APPROVER, body=body)


def change(
    method: str, path: str, endpoint: Endpoint, body: type[msgspec.Struct] | None = None
) -> OperatorRoute:
    """Any other change: for admins."""
    return OperatorRoute(path, endpoint, methods=[method], role=Role.ADMIN, body=body)


def local(
    method: str, path: str, endpoint: Endpoint, body: type[msgspec.Struct] | None = None
) -> OperatorRoute:
    """For the machine of the service alone."""
    return OperatorRoute(path, endpoint, methods=[method], role=None, body=body)


def role_of(route: Route) -> Role | None:
    """The least role that may call a route from elsewhere; None where none may."""
    return route.role if isinstance(route, OperatorRoute) else None
