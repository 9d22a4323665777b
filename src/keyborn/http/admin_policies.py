"""The operator's routes for access policies and for the services that have them."""

from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.access import Action, Circumstances, ConnectAttribute
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.token import encode_secret
from keyborn.http import guards
from keyborn.http.admin_rows import explanation_row, finding_row, policy_row, thing_row, token_row
from keyborn.http.answers import answer_json, page_after, page_limit
from keyborn.http.roles import ask, change, look
from keyborn.ports import Clock
from keyborn.service.policies import Kept, PolicyOffice, Question
from keyborn.service.services import ServiceOffice

ACTIONS = {
    "connect": Action.CONNECT,
    "publish": Action.PUBLISH,
    "receive": Action.RECEIVE,
    "retain": Action.RETAIN,
    "subscribe": Action.SUBSCRIBE,
}
"""The words of ``keyborn policy simulate``."""
MAX_BODY = 64 * 1024
"""Bytes: a document of 16 KiB, with every quotation mark and line end escaped, and the rest."""
_USERS_SHOWN = 100


class PolicyBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A document to keep: the JSON text, as its author wrote it."""

    document: str


class AttachBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A policy to give."""

    policy_name: str


class SimulationBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to simulate; the client id is the thing name unless it is said."""

    thing: str
    action: Literal["connect", "publish", "receive", "retain", "subscribe"]
    resource: str
    client_id: str | None = None
    will: bool = False
    persistent: bool = False
    document: str | None = None


class ServiceBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A service to invite."""

    name: str
    document: str
    replace: bool = False
    own: bool = False


_policy_body = msgspec.json.Decoder(PolicyBody)
_attach_body = msgspec.json.Decoder(AttachBody)
_simulation_body = msgspec.json.Decoder(SimulationBody)
_service_body = msgspec.json.Decoder(ServiceBody)


def policy_routes(office: PolicyOffice, actor: Callable[[], str]) -> list[Route]:
    """Routes over one office; ``actor``: whom the audit trail names, asked before each change."""
    routes = _PolicyRoutes(office, actor)
    return [
        look("/v1/policies", routes.page),
        look("/v1/policies/{policy:path}", routes.show),
        change("PUT", "/v1/policies/{policy:path}", routes.put, PolicyBody),
        change("DELETE", "/v1/policies/{policy:path}", routes.remove),
        change("POST", "/v1/things/{name:path}/policies", routes.attach, AttachBody),
        change("DELETE", "/v1/things/{name:path}/policies/{policy:path}", routes.detach),
        ask("/v1/simulations", routes.simulate, SimulationBody),
    ]


def service_routes(office: ServiceOffice, clock: Clock, actor: Callable[[], str]) -> list[Route]:
    """Routes over one office; ``actor`` as in ``policy_routes``."""
    routes = _ServiceRoutes(office, clock, actor)
    return [
        look("/v1/services", routes.page),
        change("POST", "/v1/services", routes.invite, ServiceBody),
        look("/v1/services/{name:path}", routes.show),
    ]


class _PolicyRoutes:
    def __init__(self, office: PolicyOffice, actor: Callable[[], str]) -> None:
        self._office = office
        self._actor = actor

    async def page(self, request: Request) -> Response:
        """A page of policies, by name, without their documents."""
        page = await self._office.page(after=page_after(request), limit=page_limit(request))
        return answer_json([policy_row(policy) for policy in page])

    async def show(self, request: Request) -> Response:
        """One policy: document, findings, and the first who have it by name."""
        kept = await self._office.show(request.path_params["policy"])
        users = await self._office.users(kept.policy.name, limit=_USERS_SHOWN)
        return answer_json(
            kept_row(kept)
            | {
                "document": kept.policy.document.text,
                "isDefault": kept.policy.name == DEFAULT_POLICY,
                "attachedTo": list(users),
            }
        )

    async def put(self, request: Request) -> Response:
        """Keep a document."""
        body = guards.parse_json(await guards.read_body(request, MAX_BODY), _policy_body)
        kept = await self._office.put(request.path_params["policy"], body.document, actor=self._actor())
        return answer_json(kept_row(kept))

    async def remove(self, request: Request) -> Response:
        """Forget a policy."""
        await self._office.remove(request.path_params["policy"], actor=self._actor())
        return answer_json({"policyName": request.path_params["policy"]})

    async def attach(self, request: Request) -> Response:
        """Give a thing or service one more policy."""
        body = guards.parse_json(await guards.read_body(request), _attach_body)
        name = request.path_params["name"]
        return answer_json(thing_row(await self._office.attach(body.policy_name, name, actor=self._actor())))

    async def detach(self, request: Request) -> Response:
        """Take a policy away."""
        names = request.path_params
        thing = await self._office.detach(names["policy"], names["name"], actor=self._actor())
        return answer_json(thing_row(thing))

    async def simulate(self, request: Request) -> Response:
        """What the broker would decide, and why."""
        body = guards.parse_json(await guards.read_body(request, MAX_BODY), _simulation_body)
        said = await self._office.simulate(_question(body))
        standing = {
            "thingName": said.thing.name,
            "thingStatus": said.thing.status.value,
            "certificateId": said.certificate.id,
            "certificateStatus": said.certificate.status.value,
            "certificateLive": said.live,
        }
        return answer_json(explanation_row(said.explanation) | standing)


class _ServiceRoutes:
    def __init__(self, office: ServiceOffice, clock: Clock, actor: Callable[[], str]) -> None:
        self._office = office
        self._clock = clock
        self._actor = actor

    async def page(self, request: Request) -> Response:
        """A page of services, by name."""
        page = await self._office.page(after=page_after(request), limit=page_limit(request))
        return answer_json([thing_row(service) for service in page])

    async def show(self, request: Request) -> Response:
        """One service."""
        return answer_json(thing_row(await self._office.show(request.path_params["name"])))

    async def invite(self, request: Request) -> Response:
        """Keep a service's policy and make its enrolment code; the one answer that shows it."""
        body = guards.parse_json(await guards.read_body(request, MAX_BODY), _service_body)
        invited = await self._office.invite(
            body.name, body.document, replace=body.replace, own=body.own, actor=self._actor()
        )
        code = invited.token.code
        shown = {"code": code.encode(), "secret": encode_secret(code.secret), "url": code.url}
        token = token_row(invited.token.token, self._clock.now())
        return answer_json(
            kept_row(invited.policy) | {"thingName": invited.name, "token": token} | shown, 201
        )


def kept_row(kept: Kept) -> dict[str, object]:
    """A policy and what lint has to say of it."""
    return policy_row(kept.policy) | {"findings": [finding_row(finding) for finding in kept.findings]}


def _question(body: SimulationBody) -> Question:
    wanted = {ConnectAttribute.WILL: body.will, ConnectAttribute.PERSISTENT: body.persistent}
    attributes = frozenset(attribute for attribute, asked in wanted.items() if asked)
    client_id = body.thing if body.client_id is None else body.client_id
    circumstances = Circumstances(client_id, attributes)
    return Question(body.thing, ACTIONS[body.action], body.resource, circumstances, body.document)
