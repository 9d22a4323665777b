"""Orders that take something away for good are answered once their copy outside the registry is durable.

The order itself is in force by then, and what it ends has ended: a copy that cannot be written undoes
nothing, and the operator is told (docs/adr/0033).
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from keyborn.http.roles import Endpoint, OperatorRoute
from keyborn.ports import Mirror

_TAKEN_AWAY = ("/v1/tokens/", "/v1/api-keys/", "/v1/registered/")


def mirrored(route: BaseRoute, mirror: Mirror | None) -> BaseRoute:
    """``route``, with its answer held until ``mirror`` has what it took away; any other as it is."""
    if mirror is None or not isinstance(route, OperatorRoute) or not _is_final(route):
        return route
    methods = sorted(route.methods or ())
    return OperatorRoute(
        route.path, _kept(route.endpoint, mirror), methods=methods, role=route.role, body=route.body
    )


def _is_final(route: OperatorRoute) -> bool:
    withdraws = route.path.startswith(_TAKEN_AWAY) and "DELETE" in (route.methods or ())
    return withdraws or route.path.endswith("/status")


def _kept(endpoint: Endpoint, mirror: Mirror) -> Endpoint:
    async def _then_mirrored(request: Request) -> Response:
        answer = await endpoint(request)
        await mirror.keep()
        return answer

    _then_mirrored.__doc__ = endpoint.__doc__
    return _then_mirrored
