"""The device-facing application: routes that read as a list of guards."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.responses import PlainTextResponse, Response

from keyborn.domain.errors import MalformedRequest, Stopping
from keyborn.http import guards, openapi, openapi_operators
from keyborn.http.answers import answer_json
from keyborn.http.bodies import AskedBody, BrokerAddress, EnrollBody, LegacyBody, answer_enrollment, pem_of
from keyborn.http.dispatch import Act, Dispatch, Door
from keyborn.http.enroll_door import EnrollDoor
from keyborn.http.incoming import Incoming
from keyborn.http.signed import SignedRoutes, is_signed
from keyborn.ports import Asked, Nonces
from keyborn.service.enroll import EnrollmentRequest, RegistrationAuthority
from keyborn.service.renew import RenewalAuthority

JSON = "application/json"
PEM_CHAIN = "application/pem-certificate-chain"
_enroll_body = msgspec.json.Decoder(EnrollBody)
_legacy_body = msgspec.json.Decoder(LegacyBody)
_asked_body = msgspec.json.Decoder(AskedBody)


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes need."""

    authority: RegistrationAuthority
    broker: BrokerAddress
    ready: Callable[[], Awaitable[None]]
    """Returns when the service can enrol; raises a KeybornError otherwise."""
    renewal: RenewalAuthority | None = None
    """None where things do not renew: the routes are not there then."""
    url: Callable[[], str] = str
    """Of this service, as enrolment codes tell it."""
    nonces: Nonces | None = None
    """None where no enrolment is signed."""


def build_app(service: Service) -> Dispatch:
    """The ASGI application of one service."""
    routes = _Routes(service)
    signed: list[Door] = []
    if service.renewal is not None:
        signed = SignedRoutes(service.renewal, service.broker, service.url).doors()
    return Dispatch(
        [
            ("POST", "/v1/enroll", routes.enroll),
            ("POST", "/getCertificate", routes.get_certificate),
            *signed,
            ("GET", "/v1/trust-bundle", routes.trust_bundle),
            ("GET", "/healthz", healthz),
            ("GET", "/readyz", routes.readyz),
            ("GET", "/openapi.json", routes.openapi_document),
        ]
    )


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._signed: Act | None = None
        if service.nonces is not None:
            door = EnrollDoor(service.authority, service.broker, service.url, service.nonces)
            self._signed = door.act()

    async def enroll(self, request: Incoming) -> Response:
        """201 for a new certificate, 200 when it had been given before; signed ones have their own door."""
        if self._signed is not None and is_signed(request):
            return await self._signed(request)
        raw = await guards.read_body(request)
        credential = guards.credential(request, asked=_asked(raw))
        applicant = await self._service.authority.authenticate(credential)
        body = guards.parse_json(raw, _enroll_body)
        outcome = await self._service.authority.enroll(
            applicant, EnrollmentRequest(body.thing_name, body.csr, credential.source, body.attributes)
        )
        answer = answer_enrollment(outcome.certificate, self._service.broker)
        return answer_json(answer, 200 if outcome.repeated else 201)

    async def get_certificate(self, request: Incoming) -> Response:
        """The compatibility door: the bare PEM."""
        raw = await guards.read_body(request)
        credential = guards.credential(request, asked=_asked(raw))
        applicant = await self._service.authority.authenticate(credential)
        body = guards.parse_json(raw, _legacy_body)
        outcome = await self._service.authority.enroll(
            applicant, EnrollmentRequest(body.thing_name, body.csr, credential.source, generic=True)
        )
        return PlainTextResponse(pem_of(outcome.certificate.der))

    async def trust_bundle(self, _request: Incoming) -> Response:
        """The roots, PEM: compared with a fingerprint by devices that trust nothing yet."""
        return Response(self._service.broker.roots_pem(), media_type=PEM_CHAIN)

    async def readyz(self, request: Incoming) -> Response:
        """Whether an enrolment would find its registry, and a service that goes on."""
        if request.scope.get("state", {}).get("stopping"):
            raise Stopping(seconds=2)
        await self._service.ready()
        return PlainTextResponse("ready\n")

    async def openapi_document(self, request: Incoming) -> Response:
        """OpenAPI 3.1 of this service."""
        renewal = self._service.renewal
        reports = renewal is not None and renewal.takes_reports
        operators = openapi_operators.operator_calls(request.scope["app"].routes)
        document = openapi.document(renewal=renewal is not None, reports=reports, operators=operators)
        return Response(document, media_type=JSON)


def _asked(raw: bytes) -> Asked | None:
    """What is asked for, for the methods that depend on it; None for a body that is to be refused later.

    So whoever proves nothing hears of that, not of a body.
    """
    try:
        body = guards.parse_json(raw, _asked_body)
    except MalformedRequest:
        return None
    return Asked(body.thing_name, body.csr, body.group)


async def healthz(_request: Incoming) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")
