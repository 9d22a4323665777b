"""The operator's application: served on the data folder's control socket, never on a network port here.

The same routes work in process when no server runs, so a command behaves alike with and without one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from keyborn.domain.audit import AuditRecord
from keyborn.domain.certificate import Certificate
from keyborn.domain.errors import InvalidSetting, ServerNotRunning
from keyborn.domain.names import NameScope, ThingName, parse_thing_name
from keyborn.domain.thing import Thing
from keyborn.domain.token import EnrollmentToken, TokenId, encode_secret
from keyborn.http import guards, problems
from keyborn.ports import Clock, MessageTap
from keyborn.service.fleet import FleetView
from keyborn.service.tokens import TokenOffice, TokenWish

_MAX_PAGE = 1000
_WATCH_BACKLOG = 10_000


class TokenBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What the operator wishes: one name or a pattern, uses (0 is unlimited), seconds to live."""

    thing: str | None = None
    match: str | None = None
    uses: int = 1
    ttl: int = 3600
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Office:
    """What the operator's routes need."""

    tokens: TokenOffice
    fleet: FleetView
    clock: Clock
    authorities: Sequence[Mapping[str, Any]]
    """Name, role, fingerprint, dates and PEM of every certificate authority."""
    about: Callable[[], Mapping[str, Any]]
    """URL, fingerprint, listeners and request count of the service, now."""
    messages: MessageTap | None = None
    """The broker's tap; None when no server runs."""


_token_body = msgspec.json.Decoder(TokenBody)


def build_admin(office: Office) -> Starlette:
    """The ASGI application of one office."""
    routes = _Routes(office)
    app = Starlette(
        routes=[
            Route("/v1/tokens", routes.tokens, methods=["GET"]),
            Route("/v1/tokens", routes.create_token, methods=["POST"]),
            Route("/v1/tokens/{token:path}", routes.withdraw_token, methods=["DELETE"]),
            Route("/v1/things", routes.things, methods=["GET"]),
            Route("/v1/things/{name:path}", routes.thing, methods=["GET"]),
            Route("/v1/authorities", routes.authorities, methods=["GET"]),
            Route("/v1/audit", routes.audit, methods=["GET"]),
            Route("/v1/messages", routes.messages, methods=["GET"]),
            Route("/v1/about", routes.about, methods=["GET"]),
        ],
        exception_handlers=problems.HANDLERS,
    )
    app.router.redirect_slashes = False
    return app


class _Routes:
    def __init__(self, office: Office) -> None:
        self._office = office

    async def tokens(self, request: Request) -> Response:
        """A page of tokens, by id."""
        after = request.query_params.get("after")
        page = await self._office.tokens.page(after=TokenId(after) if after else None, limit=_limit(request))
        now = self._office.clock.now()
        return _json([token_row(use.token, now, use.uses_taken) for use in page])

    async def create_token(self, request: Request) -> Response:
        """A new token; the one answer that shows its code."""
        body = guards.parse_json(await guards.read_body(request), _token_body)
        fresh = await self._office.tokens.create(_wish(body))
        shown = {
            "code": fresh.code.encode(),
            "secret": encode_secret(fresh.code.secret),
            "url": fresh.code.url,
            "fingerprint": fresh.code.fingerprint.hex(),
        }
        return _json(token_row(fresh.token, self._office.clock.now()) | shown, status=201)

    async def withdraw_token(self, request: Request) -> Response:
        """End a token."""
        token = await self._office.tokens.withdraw(TokenId(request.path_params["token"]))
        return _json(token_row(token, self._office.clock.now()))

    async def things(self, request: Request) -> Response:
        """A page of things, by name."""
        page = await self._office.fleet.page(after=request.query_params.get("after"), limit=_limit(request))
        return _json([thing_row(thing) for thing in page])

    async def thing(self, request: Request) -> Response:
        """One thing with its certificates."""
        report = await self._office.fleet.report(request.path_params["name"])
        now = self._office.clock.now()
        certificates = [certificate_row(certificate, now) for certificate in report.certificates]
        return _json(thing_row(report.thing) | {"certificates": certificates})

    async def authorities(self, _request: Request) -> Response:
        """Root and intermediates."""
        return _json(self._office.authorities)

    async def about(self, _request: Request) -> Response:
        """The service itself."""
        return _json(self._office.about())

    async def audit(self, request: Request) -> Response:
        """A page of the audit trail."""
        after = request.query_params.get("after", "0")
        page = await self._office.fleet.audit(after=_number(after, "after"), limit=_limit(request))
        return _json([audit_row(record) for record in page])

    async def messages(self, request: Request) -> Response:
        """Lines of JSON, one a message, for as long as the caller listens."""
        if self._office.messages is None:
            raise ServerNotRunning(path="this data folder")
        lines = _tapped(self._office.messages, request.query_params.get("filter", "#"))
        return StreamingResponse(lines, media_type="application/x-ndjson")


def _tapped(messages: MessageTap, topic_filter: str) -> AsyncIterator[bytes]:
    """Tap now, so that nothing published after the answer's first byte is missed."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(_WATCH_BACKLOG)
    lost = 0

    def _heard(topic: str, payload: bytes, thing: ThingName | None) -> None:
        nonlocal lost
        try:
            queue.put_nowait(message_line(topic, payload, thing, lost))
            lost = 0
        except asyncio.QueueFull:
            lost += 1  # a reader that cannot keep up must not hold up the broker; it is told

    end = messages.tap(topic_filter, _heard)

    async def _lines() -> AsyncIterator[bytes]:
        try:
            yield b"\n"
            while True:
                yield await queue.get()
        finally:
            end()

    return _lines()


def message_line(topic: str, payload: bytes, thing: ThingName | None, lost: int) -> bytes:
    """One message as a line of JSON; payloads that are no text are hex."""
    row: dict[str, object] = {"time": _time(datetime.now(UTC)), "thing": thing, "topic": topic}
    try:
        row["payload"] = payload.decode()
    except UnicodeDecodeError:
        row["payloadHex"] = payload.hex()
    if lost:
        row["lostBefore"] = lost
    return msgspec.json.encode(row) + b"\n"


def token_row(token: EnrollmentToken, now: datetime, uses_taken: int = 0) -> dict[str, object]:
    """A token as the operator sees it; no digest."""
    return {
        "id": token.id,
        "state": _token_state(token, now, uses_taken),
        "things": token.scope.pattern,
        "uses": token.uses,
        "usesTaken": uses_taken,
        "replace": token.replace,
        "issued": _time(token.issued_at),
        "expires": _time(token.expires_at),
    }


def _token_state(token: EnrollmentToken, now: datetime, uses_taken: int) -> str:
    if token.withdrawn_at:
        return "withdrawn"
    if token.expired(now):
        return "expired"
    return "used up" if token.uses is not None and uses_taken >= token.uses else "valid"


def thing_row(thing: Thing) -> dict[str, object]:
    """A thing as the operator sees it."""
    return {
        "thingName": thing.name,
        "status": thing.status.value,
        "keyHash": thing.key_hash,
        "created": _time(thing.created_at),
        "attributes": dict(thing.attributes),
    }


def certificate_row(certificate: Certificate, now: datetime) -> dict[str, object]:
    """A certificate as the operator sees it; expired is computed."""
    expired = certificate.expired(now) and certificate.status.value == "active"
    connected = certificate.connected_at
    return {
        "certificateId": certificate.id,
        "status": "expired" if expired else certificate.status.value,
        "slot": certificate.slot.value,
        "notBefore": _time(certificate.not_before),
        "notAfter": _time(certificate.not_after),
        "firstConnected": _time(connected) if connected else None,
    }


def audit_row(record: AuditRecord) -> dict[str, object]:
    """One record of the audit trail."""
    event = record.event
    return {
        "sequence": record.sequence,
        "at": event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "action": event.action,
        "outcome": event.outcome,
        "subject": event.subject,
        "actor": event.actor,
        "source": event.source,
        "details": dict(event.details),
        "previous": record.previous,
        "hash": record.hash,
    }


def _wish(body: TokenBody) -> TokenWish:
    if body.thing is not None and body.match is not None:
        raise InvalidSetting(setting="--match", detail="it and --thing exclude each other")
    if body.thing is not None:
        pattern: str = parse_thing_name(body.thing)
    else:
        pattern = "*" if body.match is None else body.match  # an empty one is a slip, never every name
    try:
        ttl = timedelta(seconds=body.ttl)
    except OverflowError:
        ttl = timedelta.max
    return TokenWish(NameScope(pattern), None if body.uses == 0 else body.uses, ttl, body.replace)


def _limit(request: Request) -> int:
    return max(1, min(_MAX_PAGE, _number(request.query_params.get("limit", "100"), "limit")))


def _number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidSetting(setting=name, detail="it takes a number")
    return int(text[:18])


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")
