"""The operator's application, as the data folder's control socket serves it.

The same routes work in process when no server runs, so a command behaves alike with and without one. On the
network they stand behind ``remote``, which asks for a key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from keyborn.domain.errors import InvalidSetting
from keyborn.domain.names import NameScope, ThingName, parse_group_name, parse_thing_name
from keyborn.domain.roots import Belief
from keyborn.domain.search import Search, parse_search
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.domain.token import TokenId, encode_secret
from keyborn.http import guards, problems
from keyborn.http.admin_approvals import approval_routes
from keyborn.http.admin_audit import audit_routes
from keyborn.http.admin_group_keys import group_key_routes
from keyborn.http.admin_groups import group_routes, regroup_routes
from keyborn.http.admin_keys import api_key_routes
from keyborn.http.admin_policies import policy_routes, service_routes
from keyborn.http.admin_pruning import prune_routes
from keyborn.http.admin_registered import registered_routes
from keyborn.http.admin_roots import roots_routes
from keyborn.http.admin_rows import audit_row, belief_row, certificate_row, thing_row, token_row
from keyborn.http.answers import answer_json, page_after, page_limit, read_number, span_of
from keyborn.http.metrics import metrics_routes
from keyborn.http.mirrored import mirrored
from keyborn.http.roles import change, look
from keyborn.ports import Clock, Mirror
from keyborn.service.api_keys import ApiKeyOffice
from keyborn.service.approvals import ApprovalOffice
from keyborn.service.audit import AuditOffice
from keyborn.service.fleet import FleetView
from keyborn.service.grace import GraceOffice
from keyborn.service.group_keys import GroupKeyOffice
from keyborn.service.groups import GroupOffice
from keyborn.service.policies import PolicyOffice
from keyborn.service.pruning import PruneOffice
from keyborn.service.registering import RegisteredOffice
from keyborn.service.regroup import RegroupOffice
from keyborn.service.roots import RootsOffice
from keyborn.service.services import ServiceOffice
from keyborn.service.things import Order, ThingOffice
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.service.watching import Watching


class TokenBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What the operator wishes: one name or a pattern, uses (0 is unlimited), seconds to live."""

    thing: str | None = None
    match: str | None = None
    uses: int = 1
    ttl: int = 3600
    replace: bool = False
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Office:
    """What the operator's routes need."""

    tokens: TokenOffice
    fleet: FleetView
    things: ThingOffice
    policies: PolicyOffice
    services: ServiceOffice
    clock: Clock
    authorities: Callable[[], Sequence[Mapping[str, Any]]]
    """Name, role, fingerprint, dates and PEM of every certificate authority."""
    about: Callable[[], Mapping[str, Any]]
    """URL, fingerprint, listeners and request count of the service, now."""
    actor: Callable[[], str]
    """Whom the audit trail names; asked before each change, and only then. Raises a leaf of OperatorError."""
    grace: GraceOffice | None = None
    """None where things do not renew."""
    roots: RootsOffice | None = None
    """None where things do not tell what they believe."""
    groups: GroupOffice | None = None
    regroup: RegroupOffice | None = None
    group_keys: GroupKeyOffice | None = None
    """None, all three, where there are no enrolment groups."""
    approvals: ApprovalOffice | None = None
    """None where nobody is asked first."""
    registered: RegisteredOffice | None = None
    """None where no keys are announced."""
    audit: AuditOffice | None = None
    """None where nobody signs checkpoints."""
    keys: ApiKeyOffice | None = None
    """None where operators prove themselves otherwise, as on AWS."""
    pruning: PruneOffice | None = None
    """None where nothing has to be forgotten by hand, as on AWS."""
    watching: Watching | None = None
    """None where no service runs."""
    mirror: Mirror | None = None
    """None where a restored registry undoes nothing by itself, as on AWS."""


class OrderBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Where the operator moves a thing."""

    status: Literal["suspended", "active", "revoked", "retired"]
    kind: Literal["device", "service"] = "device"
    reason: str = ""


class GraceBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """For how long an expired certificate may renew, in seconds from now; None ends it."""

    seconds: int | None


_grace_body = msgspec.json.Decoder(GraceBody)
_token_body = msgspec.json.Decoder(TokenBody)
_order_body = msgspec.json.Decoder(OrderBody)


def build_admin(office: Office) -> Starlette:
    """The ASGI application of one office. Each route says who may call it from elsewhere (``roles``)."""
    routes = _Routes(office)
    declared = [
        look("/v1/tokens", routes.tokens),
        change("POST", "/v1/tokens", routes.create_token, TokenBody),
        change("DELETE", "/v1/tokens/{token:path}", routes.withdraw_token),
        look("/v1/things", routes.things, query=["prefix", "where", "group", "status", "after", "limit"]),
        change("POST", "/v1/things/{name:path}/status", routes.order, OrderBody),
        *([change("POST", "/v1/things/{name:path}/grace", routes.grace, GraceBody)] if office.grace else []),
        *(regroup_routes(office.regroup, office.actor) if office.regroup else []),
        *(metrics_routes(office.watching) if office.watching else []),
        *(audit_routes(office.audit) if office.audit else []),
        *(group_key_routes(office.group_keys, office.clock, office.actor) if office.group_keys else []),
        *(group_routes(office.groups, office.actor) if office.groups else []),
        look("/v1/things/{name:path}", routes.thing),
        *(roots_routes(office.roots, office.actor) if office.roots else []),
        look("/v1/authorities", routes.authorities),
        look("/v1/audit", routes.audit),
        look("/v1/about", routes.about),
        *(api_key_routes(office.keys, office.clock, office.actor) if office.keys else []),
        *(prune_routes(office.pruning, office.actor) if office.pruning else []),
        *policy_routes(office.policies, office.actor),
        *service_routes(office.services, office.clock, office.actor),
        *(approval_routes(office.approvals, office.clock, office.actor) if office.approvals else []),
        *(registered_routes(office.registered, office.actor) if office.registered else []),
    ]
    app = Starlette(
        routes=[mirrored(route, office.mirror) for route in declared],
        exception_handlers=problems.HANDLERS,
    )
    app.router.redirect_slashes = False
    return app


class _Routes:
    def __init__(self, office: Office) -> None:
        self._office = office

    async def tokens(self, request: Request) -> Response:
        """A page of tokens, by id."""
        after = page_after(request)
        page = await self._office.tokens.page(
            after=TokenId(after) if after else None, limit=page_limit(request)
        )
        now = self._office.clock.now()
        return answer_json([token_row(use.token, now, use.uses_taken) for use in page])

    async def create_token(self, request: Request) -> Response:
        """A new token; the one answer that shows its code."""
        body = guards.parse_json(await guards.read_body(request), _token_body)
        fresh = await self._office.tokens.create(_wish(body), actor=self._office.actor())
        shown = {
            "code": fresh.code.encode(),
            "secret": encode_secret(fresh.code.secret),
            "url": fresh.code.url,
            "fingerprint": fresh.code.fingerprint.hex(),
        }
        return answer_json(token_row(fresh.token, self._office.clock.now()) | shown, status=201)

    async def withdraw_token(self, request: Request) -> Response:
        """End a token."""
        token = await self._office.tokens.withdraw(
            TokenId(request.path_params["token"]), actor=self._office.actor()
        )
        return answer_json(token_row(token, self._office.clock.now()))

    async def things(self, request: Request) -> Response:
        """A page of things, by name: all, or those that a search finds."""
        page = await self._office.fleet.page(
            _search(request), after=page_after(request), limit=page_limit(request)
        )
        return answer_json([thing_row(thing) for thing in page])

    async def thing(self, request: Request) -> Response:
        """One thing with its certificates."""
        report = await self._office.fleet.report(request.path_params["name"])
        now = self._office.clock.now()
        certificates = [certificate_row(certificate, now) for certificate in report.certificates]
        roots = await self._believed(report.thing.name)
        return answer_json(thing_row(report.thing) | roots | {"certificates": certificates})

    async def _believed(self, name: ThingName) -> dict[str, object]:
        """Where nobody asks for beliefs, as on AWS, nothing is known: the answer has the same members."""
        office = self._office.roots
        belief = Belief(name) if office is None else await office.of(name)
        told = belief_row(belief)
        newest = None if office is None or belief.roots is None else office.is_newest(belief)
        return {"roots": told["roots"], "rootsSince": told["since"], "rootsFresh": newest}

    async def order(self, request: Request) -> Response:
        """Suspend, activate, revoke or retire; the answer says how many open sessions were closed."""
        body = guards.parse_json(await guards.read_body(request), _order_body)
        order = Order(
            request.path_params["name"], ThingStatus(body.status), ThingKind(body.kind), body.reason
        )
        done = await self._office.things.carry_out(order, actor=self._office.actor())
        left = done.left_open
        warning = None if left is None else {"code": left.code, "detail": str(left)}
        return answer_json(thing_row(done.thing) | {"sessionsClosed": done.closed, "warning": warning})

    async def grace(self, request: Request) -> Response:
        """Let a thing's expired certificate renew, for a time."""
        body = guards.parse_json(await guards.read_body(request), _grace_body)
        assert self._office.grace is not None, "else there is no such route"
        span = None if body.seconds is None else span_of(body.seconds)
        name = request.path_params["name"]
        return answer_json(thing_row(await self._office.grace.grant(name, span, actor=self._office.actor())))

    async def authorities(self, _request: Request) -> Response:
        """Root and intermediates."""
        return answer_json(self._office.authorities())

    async def about(self, _request: Request) -> Response:
        """The service itself."""
        return answer_json(self._office.about())

    async def audit(self, request: Request) -> Response:
        """A page of the audit trail."""
        after = request.query_params.get("after", "0")
        page = await self._office.fleet.audit(after=read_number(after, "after"), limit=page_limit(request))
        return answer_json([audit_row(record) for record in page])


def _search(request: Request) -> Search:
    asked = request.query_params
    return parse_search(
        prefix=asked.get("prefix"),
        where=asked.getlist("where"),
        group=asked.get("group") or None,
        status=asked.get("status") or None,
    )


def _wish(body: TokenBody) -> TokenWish:
    if body.thing is not None and body.match is not None:
        raise InvalidSetting(setting="--match", detail="it and --thing exclude each other")
    if body.thing is not None:
        pattern: str = parse_thing_name(body.thing)
    else:
        pattern = "*" if body.match is None else body.match  # an empty one is a slip, never every name
    uses = None if body.uses == 0 else body.uses
    group = None if body.group is None else parse_group_name(body.group)
    return TokenWish(NameScope(pattern), uses, span_of(body.ttl), body.replace, group=group)
