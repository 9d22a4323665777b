"""The operator's routes about keys that are announced before their devices come."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.errors import InvalidSetting
from keyborn.domain.names import KeyHash
from keyborn.domain.registered import RegisteredKey
from keyborn.http import guards
from keyborn.http.answers import answer_json, page_after, page_limit
from keyborn.http.roles import change, look
from keyborn.ports import MAX_PAGE
from keyborn.service.registering import RegisteredOffice

MAX_BATCH = 256 * 1024
"""Bytes: ``MAX_PAGE`` rows of a name of 64 characters and a hash."""


class RegisterBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """At most a thousand pairs of a thing name and a key hash."""

    group: str
    keys: Annotated[list[tuple[str, str]], msgspec.Meta(max_length=MAX_PAGE)]


_register_body = msgspec.json.Decoder(RegisterBody)


def registered_routes(office: RegisteredOffice, actor: Callable[[], str]) -> list[Route]:
    """For the application of operators; ``actor`` as in ``Office``."""
    routes = _Routes(office, actor)
    return [
        look("/v1/registered", routes.page),
        change("POST", "/v1/registered", routes.register, RegisterBody),
        look("/v1/registered/{key}", routes.key),
        change("DELETE", "/v1/registered/{key}", routes.remove),
    ]


class _Routes:
    def __init__(self, office: RegisteredOffice, actor: Callable[[], str]) -> None:
        self._office = office
        self._actor = actor

    async def page(self, request: Request) -> Response:
        """A page of ``?group=``, by key hash; with ``name=`` all of that name."""
        group, name = request.query_params.get("group"), request.query_params.get("name")
        if group is None:
            raise InvalidSetting(setting="group", detail="say of which enrolment group")
        if name is not None:
            return answer_json([registered_row(one) for one in await self._office.named(group, name)])
        after = page_after(request)
        page = await self._office.page(
            group, after=KeyHash(after) if after else None, limit=page_limit(request)
        )
        return answer_json([registered_row(one) for one in page])

    async def register(self, request: Request) -> Response:
        """Announce a batch; a repeat changes nothing."""
        body = guards.parse_json(await guards.read_body(request, MAX_BATCH), _register_body)
        done = await self._office.register(body.group, body.keys, actor=self._actor())
        refused = [registered_row(one) for one in done.refused]
        return answer_json({"added": done.added, "known": done.known, "refused": refused})

    async def key(self, request: Request) -> Response:
        """What is announced of one key."""
        return answer_json(registered_row(await self._office.find(request.path_params["key"])))

    async def remove(self, request: Request) -> Response:
        """Take it back."""
        gone = await self._office.remove(request.path_params["key"], actor=self._actor())
        return answer_json(registered_row(gone))


def registered_row(one: RegisteredKey) -> dict[str, object]:
    """An announcement as the operator sees it."""
    return {"thingName": one.thing, "keyHash": one.key_hash, "group": one.group}
