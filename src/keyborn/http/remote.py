"""The operator's routes on the network: the same handlers, behind an API key, its role and the record.

They stand beside the devices' routes on one listener. A client certificate means nothing here, and a device's
token neither.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.api_key import Operator
from keyborn.domain.errors import KeybornError
from keyborn.http.admin import Office, build_admin
from keyborn.http.roles import Endpoint, OperatorRoute, role_of
from keyborn.service.operators import DONE, Call, OperatorDoor

_caller: ContextVar[Operator] = ContextVar("keyborn_operator")
"""Who has been let in; each request runs in a task of its own, and so in a context of its own."""


def remote_routes(office: Office, door: OperatorDoor) -> list[Route]:
    """Every operator's route of ``office``, each behind ``door``; who has no role for it is refused."""
    routes = build_admin(replace(office, actor=caller)).routes
    return [_guarded(route, door) for route in routes if isinstance(route, Route)]


def caller() -> str:
    """Whom the trail names for the request under way. Raises LookupError outside of one."""
    return _caller.get().actor


def _guarded(route: Route, door: OperatorDoor) -> OperatorRoute:
    methods, wanted = sorted(route.methods or ()), role_of(route)

    async def _behind_the_door(request: Request) -> Response:
        source = request.client.host if request.client else ""
        call = Call(f"{'GET' if request.method == 'HEAD' else request.method} {route.path}", source)
        operator = await door.admit(_bearer(request), call, wanted)
        _caller.set(operator)
        return await _recorded(door, operator, call, route.endpoint, request)

    _behind_the_door.__doc__ = route.endpoint.__doc__
    body = route.body if isinstance(route, OperatorRoute) else None
    query = route.query if isinstance(route, OperatorRoute) else ()
    return OperatorRoute(route.path, _behind_the_door, methods=methods, role=wanted, body=body, query=query)


async def _recorded(
    door: OperatorDoor, operator: Operator, call: Call, endpoint: Endpoint, request: Request
) -> Response:
    """The answer, once the trail knows how the call ended: without a record there is none."""
    outcome = DONE
    try:
        async with door.slots.slot():
            answer = await endpoint(request)
    except KeybornError as refusal:
        outcome = refusal.code
        raise
    except asyncio.CancelledError:  # in line, or by a stop
        outcome = "called_off"
        raise
    except BaseException:
        outcome = "internal"
        raise
    finally:
        await door.book.note(operator.actor, call, outcome)
    answer.headers["Cache-Control"] = "no-store"  # codes are shown once, and lists are of now
    return answer


def _bearer(request: Request) -> str | None:
    """The word that the caller shows, or None; any other scheme than Bearer is a word that is no key."""
    values: Sequence[str] = request.headers.getlist("authorization")
    if not values:
        return None
    scheme, _, bearer = values[0].partition(" ")
    return bearer if len(values) == 1 and scheme.lower() == "bearer" else ""
