"""The operator's routes for API keys. A key makes no key: whoever has stolen one does not outlive it."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.api_key import DEFAULT_TTL, ApiKey, ApiKeyId, Role
from keyborn.domain.moment import shown
from keyborn.http import guards
from keyborn.http.answers import answer_json, page_after, page_limit, span_of
from keyborn.http.roles import change, local, look
from keyborn.ports import Clock
from keyborn.service.api_keys import ApiKeyOffice, ApiKeyWish


class ApiKeyBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What the operator wishes: who, as what, and seconds to live."""

    name: str
    role: Literal["viewer", "approver", "admin"]
    ttl: int = int(DEFAULT_TTL.total_seconds())


_api_key_body = msgspec.json.Decoder(ApiKeyBody)


def api_key_routes(office: ApiKeyOffice, clock: Clock, actor: Callable[[], str]) -> list[Route]:
    """Routes over one office; ``actor``: whom the audit trail names, asked before each change."""
    routes = _Routes(office, clock, actor)
    return [
        look("/v1/api-keys", routes.page),
        local("POST", "/v1/api-keys", routes.create, ApiKeyBody),
        change("DELETE", "/v1/api-keys/{key:path}", routes.withdraw),
    ]


class _Routes:
    def __init__(self, office: ApiKeyOffice, clock: Clock, actor: Callable[[], str]) -> None:
        self._office = office
        self._clock = clock
        self._actor = actor

    async def page(self, request: Request) -> Response:
        """A page of API keys, by id; never a secret."""
        after = page_after(request)
        page = await self._office.page(after=ApiKeyId(after) if after else None, limit=page_limit(request))
        now = self._clock.now()
        return answer_json([api_key_row(key, now) for key in page])

    async def create(self, request: Request) -> Response:
        """A new API key; the one answer that shows its word."""
        body = guards.parse_json(await guards.read_body(request), _api_key_body)
        wish = ApiKeyWish(body.name, Role(body.role), span_of(body.ttl))
        fresh = await self._office.create(wish, actor=self._actor())
        shown_once = {"apiKey": fresh.word.encode(), "url": fresh.word.url}
        return answer_json(
            api_key_row(fresh.key, self._clock.now())
            | {"fingerprint": fresh.word.fingerprint.hex()}
            | shown_once,
            201,
        )

    async def withdraw(self, request: Request) -> Response:
        """End an API key."""
        key = await self._office.withdraw(ApiKeyId(request.path_params["key"]), actor=self._actor())
        return answer_json(api_key_row(key, self._clock.now()))


def api_key_row(key: ApiKey, now: datetime) -> dict[str, object]:
    """An API key as the operator sees it; no digest."""
    state = "withdrawn" if key.withdrawn_at else "expired" if key.expired(now) else "valid"
    return {
        "id": key.id,
        "state": state,
        "name": key.name,
        "role": key.role.value,
        "created": shown(key.created_at),
        "expires": shown(key.expires_at),
    }
