"""The operator's routes about requests that wait for a person."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.approval import Approval, ApprovalId, ApprovalState
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.moment import shown
from keyborn.http import guards
from keyborn.http.answers import answer_json, page_after, page_limit
from keyborn.http.roles import decide, look
from keyborn.ports import Clock
from keyborn.service.approvals import ApprovalOffice


class DecisionBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What the operator says; ``words`` as the device shows them, for a check."""

    state: Literal["approved", "refused"]
    words: str | None = None
    reason: str = ""


_decision_body = msgspec.json.Decoder(DecisionBody)


def approval_routes(office: ApprovalOffice, clock: Clock, actor: Callable[[], str]) -> list[Route]:
    """For the application of operators; ``actor`` as in ``Office``."""
    routes = _Routes(office, clock, actor)
    return [
        look("/v1/approvals", routes.page),
        look("/v1/approvals/{approval:path}", routes.one),
        decide("POST", "/v1/approvals/{approval:path}", routes.decide, DecisionBody),
    ]


class _Routes:
    def __init__(self, office: ApprovalOffice, clock: Clock, actor: Callable[[], str]) -> None:
        self._office = office
        self._clock = clock
        self._actor = actor

    async def page(self, request: Request) -> Response:
        """A page of requests in one state, by id: ``?state=pending``, which is meant without it, too."""
        after = page_after(request)
        page = await self._office.page(
            _state(request.query_params.get("state", "pending")),
            after=ApprovalId(after) if after else None,
            limit=page_limit(request),
        )
        now = self._clock.now()
        return answer_json([approval_row(one, now) for one in page])

    async def one(self, request: Request) -> Response:
        """One request, by id or code."""
        found = await self._office.find(request.path_params["approval"])
        return answer_json(approval_row(found, self._clock.now()))

    async def decide(self, request: Request) -> Response:
        """Approve or refuse it."""
        body = guards.parse_json(await guards.read_body(request), _decision_body)
        word, actor = request.path_params["approval"], self._actor()
        if body.state == "approved":
            done = await self._office.say_yes(word, words=body.words, actor=actor)
        else:
            done = await self._office.say_no(word, reason=body.reason, actor=actor)
        return answer_json(approval_row(done, self._clock.now()))


def approval_row(one: Approval, now: datetime) -> dict[str, object]:
    """A request as the operator sees it; that it has expired is computed."""
    decided = one.decided_at
    return {
        "id": one.id,
        "code": one.code,
        "words": one.words,
        "state": "expired" if one.expired(now) else one.state.value,
        "group": one.group,
        "thingName": one.thing,
        "keyHash": one.key_hash,
        "source": one.source,
        "replaces": one.replaces,
        "asked": shown(one.asked_at),
        "expires": shown(one.expires_at),
        "decidedBy": one.decided_by or None,
        "decidedAt": None if decided is None else shown(decided),
    }


def _state(text: str) -> ApprovalState:
    try:
        return ApprovalState(text)
    except ValueError:
        detail = f"it is one of {', '.join(ApprovalState)}"
        raise InvalidSetting(setting="state", detail=detail) from None
