"""The operator's routes about roots: who believes which, and the three steps of a change."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.http import guards
from keyborn.http.admin_rows import belief_row, roots_row
from keyborn.http.answers import answer_json, page_after, page_limit
from keyborn.http.roles import local, look
from keyborn.service.roots import RootsOffice


class SwitchBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``force`` leaves things behind; ``back`` goes to the root before."""

    force: bool = False
    back: bool = False


class RetireBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``force`` leaves things behind."""

    force: bool = False


_switch_body = msgspec.json.Decoder(SwitchBody)
_retire_body = msgspec.json.Decoder(RetireBody)


def roots_routes(office: RootsOffice, actor: Callable[[], str]) -> list[Route]:
    """For the application of operators; ``actor`` as in ``Office``."""
    routes = _Routes(office, actor)
    return [
        look("/v1/roots", routes.report),
        look("/v1/roots/lacking", routes.lacking),
        look("/v1/roots/under-old", routes.under_old),
        local("POST", "/v1/roots/next", routes.introduce),
        local("POST", "/v1/roots/switch", routes.switch, SwitchBody),
        local("DELETE", "/v1/roots/old", routes.retire, RetireBody),
    ]


class _Routes:
    def __init__(self, office: RootsOffice, actor: Callable[[], str]) -> None:
        self._office = office
        self._actor = actor

    async def report(self, _request: Request) -> Response:
        """Things by set, and what may be done next."""
        return answer_json(roots_row(await self._office.report()))

    async def lacking(self, request: Request) -> Response:
        """A page of those that lack the newest set."""
        page = await self._office.lacking(after=page_after(request), limit=page_limit(request))
        return answer_json([belief_row(belief) for belief in page])

    async def under_old(self, request: Request) -> Response:
        """A page of those whose certificate comes from the old root."""
        page = await self._office.under_old(after=page_after(request), limit=page_limit(request))
        return answer_json([{"thingName": name} for name in page])

    async def introduce(self, _request: Request) -> Response:
        """A next root; one that is there stays."""
        return answer_json(roots_row(await self._office.introduce(actor=self._actor())))

    async def switch(self, request: Request) -> Response:
        """Issue from the next root, or from the one before."""
        body = guards.parse_json(await guards.read_body(request), _switch_body)
        report = await self._office.switch(force=body.force, back=body.back, actor=self._actor())
        return answer_json(roots_row(report))

    async def retire(self, request: Request) -> Response:
        """The old root is believed no more."""
        body = guards.parse_json(await guards.read_body(request), _retire_body)
        return answer_json(roots_row(await self._office.retire(force=body.force, actor=self._actor())))
