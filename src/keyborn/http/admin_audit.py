"""The operator's routes about the audit trail: records, checkpoints, who signs them, an export."""

import logging
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from keyborn.domain.checkpoint import Checkpoint, moment_text
from keyborn.domain.errors import KeybornError
from keyborn.http.answers import answer_json, page_limit, read_number
from keyborn.http.roles import look
from keyborn.service.audit import AuditOffice

_log = logging.getLogger("keyborn.audit")


def audit_routes(office: AuditOffice) -> list[Route]:
    """What there is beside ``/v1/audit`` itself."""
    routes = _Routes(office)
    return [
        look("/v1/audit/checkpoints", routes.checkpoints),
        look("/v1/audit/keys", routes.keys),
        look("/v1/audit/export", routes.export),
    ]


def checkpoint_row(one: Checkpoint) -> dict[str, object]:
    """A checkpoint as it can be checked: nothing is cut."""
    return {
        "sequence": one.head.sequence,
        "hash": one.head.hash,
        "at": moment_text(one.at),
        "key": one.by.key,
        "signature": one.by.signature.hex(),
    }


class _Routes:
    def __init__(self, office: AuditOffice) -> None:
        self._office = office

    async def checkpoints(self, request: Request) -> Response:
        """A page of checkpoints, by the record that they are about."""
        page = await self._office.checkpoints(after=_after(request), limit=page_limit(request))
        return answer_json([checkpoint_row(one) for one in page])

    async def keys(self, _request: Request) -> Response:
        """The service's word for itself, and the public keys that signed its checkpoints, the newest last."""
        keys = [public.hex() for public in await self._office.keys()]
        return answer_json({"service": await self._office.service(), "keys": keys})

    async def export(self, request: Request) -> Response:
        """An export, line by line; one that breaks off ends with a line that says why."""
        lines = await self._office.export(_after(request))
        return StreamingResponse(_said(lines), media_type="application/jsonl")


async def _said(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for line in lines:
            yield line
    except KeybornError as trouble:
        _log.warning("an export of the audit trail broke off: %s", trouble)
        yield msgspec.json.encode({"error": {"code": trouble.code, "detail": str(trouble)}}) + b"\n"


def _after(request: Request) -> int:
    return read_number(request.query_params.get("after", "0"), "after")
