"""Enrolments that are signed by what a device has: by a key derived from a group key, or by a factory key.

The same body as that of an enrolment with a token, in a JWS (``domain.jws_enroll``). What is asked for is
decoded before anybody is proved, for it is what was signed; the CSR in it is parsed afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
from starlette.responses import Response

from keyborn.domain.errors import JwsMalformed, MalformedRequest
from keyborn.domain.jws_enroll import parse_signed_enrollment
from keyborn.http import guards
from keyborn.http.answers import answer_json
from keyborn.http.bodies import BrokerAddress, EnrollBody, answer_enrollment
from keyborn.http.dispatch import Act
from keyborn.http.incoming import Incoming
from keyborn.http.signed import addresses, with_nonce
from keyborn.ports import Asked, Credential, Nonces
from keyborn.service.enroll import EnrollmentRequest, RegistrationAuthority

ENROLL = "/v1/enroll"
_enroll_body = msgspec.json.Decoder(EnrollBody)


@dataclass(frozen=True, slots=True)
class EnrollDoor:
    """The signed half of ``/v1/enroll``."""

    authority: RegistrationAuthority
    broker: BrokerAddress
    url: Callable[[], str]
    """Of this service, as enrolment codes tell it; asked at each request."""
    nonces: Nonces

    def act(self) -> Act:
        """Answers a signed request; every answer, refusals included, brings the next nonce."""
        return with_nonce(self._enroll, self.nonces.issue)

    async def _enroll(self, request: Incoming) -> Response:
        """201 for a new certificate, 200 when it had been given before."""
        credential, wish = await read_signed(request, self.url())
        applicant = await self.authority.authenticate(credential)
        outcome = await self.authority.enroll(applicant, wish)
        answer = answer_enrollment(outcome.certificate, self.broker)
        return answer_json(answer, 200 if outcome.repeated else 201)


async def read_signed(request: Incoming, url: str) -> tuple[Credential, EnrollmentRequest]:
    """What is shown, and what is asked for with it; raises TooLarge, JwsMalformed, CredentialRefused."""
    raw = await guards.read_body(request)
    signed, payload = parse_signed_enrollment(raw, addresses(request, url, ENROLL))
    try:
        body = guards.parse_json(payload, _enroll_body)
    except MalformedRequest as wrong:
        raise JwsMalformed(detail=f"its payload: {wrong.facts['detail']}") from None
    asked = Asked(body.thing_name, body.csr, body.group)
    credential = replace(guards.credential(request, asked), signed=signed)
    return credential, EnrollmentRequest(body.thing_name, body.csr, credential.source, body.attributes)
