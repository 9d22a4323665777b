"""The operator's routes for group keys, and for codes that bring no secret."""

from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.method import Method
from keyborn.domain.moment import shown
from keyborn.domain.names import NameScope, parse_group_name
from keyborn.http import guards
from keyborn.http.admin_rows import token_row
from keyborn.http.answers import answer_json, span_of
from keyborn.http.roles import change
from keyborn.ports import Clock
from keyborn.service.group_keys import CODE_TTL, GroupKeyOffice
from keyborn.service.tokens import TokenWish

_YEAR = 365 * 86400


class GroupKeyBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A group key to make: how many devices (0 is unlimited), seconds to live, a pattern of their names."""

    uses: int = 0
    ttl: int = _YEAR
    match: str = "*"


class GroupCodeBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A code without a secret; the group's first such method unless it is said, and seconds to live."""

    method: Literal["factory", "oidc", "registered", "ask"] | None = None
    ttl: int = int(CODE_TTL.total_seconds())


_key_body = msgspec.json.Decoder(GroupKeyBody)
_code_body = msgspec.json.Decoder(GroupCodeBody)


def group_key_routes(office: GroupKeyOffice, clock: Clock, actor: Callable[[], str]) -> list[Route]:
    """Routes over one office; ``actor``: whom the audit trail names, asked before each change."""
    routes = _GroupKeyRoutes(office, clock, actor)
    return [
        change("POST", "/v1/groups/{group:path}/keys", routes.create, GroupKeyBody),
        change("POST", "/v1/groups/{group:path}/codes", routes.code, GroupCodeBody),
    ]


class _GroupKeyRoutes:
    def __init__(self, office: GroupKeyOffice, clock: Clock, actor: Callable[[], str]) -> None:
        self._office = office
        self._clock = clock
        self._actor = actor

    async def create(self, request: Request) -> Response:
        """A new group key; the one answer that shows it."""
        body = guards.parse_json(await guards.read_body(request), _key_body)
        group = parse_group_name(request.path_params["group"])
        wish = TokenWish(NameScope(body.match), body.uses or None, span_of(body.ttl))
        fresh = await self._office.create(group, wish, actor=self._actor())
        told = {
            "groupKey": fresh.held.encode(),
            "url": fresh.held.url,
            "fingerprint": fresh.held.fingerprint.hex(),
        }
        return answer_json(token_row(fresh.token, self._clock.now()) | told, status=201)

    async def code(self, request: Request) -> Response:
        """A code without a secret."""
        body = guards.parse_json(await guards.read_body(request), _code_body)
        group = parse_group_name(request.path_params["group"])
        method = None if body.method is None else Method(body.method)
        code = await self._office.code(group, method, span_of(body.ttl))
        return answer_json(
            {
                "code": code.encode(),
                "group": group,
                "method": code.method.value,
                "url": code.url,
                "fingerprint": code.fingerprint.hex(),
                "expires": shown(code.expires_at),
            }
        )
