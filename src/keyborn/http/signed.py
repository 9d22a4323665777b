"""The routes of signed requests: a nonce, a renewal, its confirmation, and which roots a device believes.

Every answer of a signed route, refusals included, carries the nonce for the next request in Replay-Nonce
(RFC 8555, 6.5.1), so that a device on a slow line asks once.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import msgspec
from starlette.responses import Response

from keyborn.domain.errors import JwsMalformed, KeybornError, MalformedRequest
from keyborn.domain.jws import MEDIA_TYPE
from keyborn.domain.moment import shown
from keyborn.domain.roots import RootSet
from keyborn.http import guards, problems
from keyborn.http.answers import answer_json
from keyborn.http.bodies import (
    BrokerAddress,
    ConfirmAnswer,
    ConfirmPayload,
    NonceAnswer,
    RenewPayload,
    RootsPayload,
    answer_enrollment,
)
from keyborn.http.dispatch import Act, Door
from keyborn.http.incoming import Incoming, header, source_of
from keyborn.service.renew import RenewalAuthority, SignedCaller

NONCE, RENEW, CONFIRM, ROOTS = "/v1/nonce", "/v1/renew", "/v1/renew/confirm", "/v1/roots"
REPLAY_NONCE = "Replay-Nonce"
_JSON = "application/json"
_renew_payload = msgspec.json.Decoder(RenewPayload)
_roots_payload = msgspec.json.Decoder(RootsPayload)
_confirm_payload = msgspec.json.Decoder(ConfirmPayload)

Payload = TypeVar("Payload")


class SignedRoutes:
    """What devices ask for with the key of a certificate in the place of a token."""

    def __init__(self, authority: RenewalAuthority, broker: BrokerAddress, url: Callable[[], str]) -> None:
        """``url``: of this service, as enrolment codes tell it; asked at each request."""
        self._authority = authority
        self._broker = broker
        self._url = url

    def doors(self) -> list[Door]:
        """For the application of devices."""
        reports: list[Door] = [("POST", ROOTS, self._with_nonce(self.roots))]
        return [
            *(reports if self._authority.takes_reports else []),
            ("GET", NONCE, self.nonce),
            ("POST", RENEW, self._with_nonce(self.renew)),
            ("POST", CONFIRM, self._with_nonce(self.confirm)),
        ]

    async def nonce(self, _request: Incoming) -> Response:
        """A nonce, in the header as for ACME's clients and in the body for people with curl."""
        nonce = await self._authority.nonce()
        body = msgspec.json.encode(NonceAnswer(nonce))
        return Response(body, media_type=_JSON, headers=_once(nonce))

    async def renew(self, request: Incoming) -> Response:
        """201 for a new successor, 200 for one that was given before."""
        caller = await self._prove(request, RENEW)
        payload = _parse_payload(caller, _renew_payload)
        outcome = await self._authority.renew(caller, payload.csr)
        await self._note(caller, payload.roots)
        answer = answer_enrollment(outcome.certificate, self._broker)
        return answer_json(answer, 200 if outcome.repeated else 201)

    async def confirm(self, request: Incoming) -> Response:
        """200: the certificate that signed is the current one, whether it was so before or not."""
        caller = await self._prove(request, CONFIRM)
        payload = _parse_payload(caller, _confirm_payload)
        confirmed = await self._authority.confirm(caller)
        await self._note(caller, payload.roots)
        answer = ConfirmAnswer(confirmed.thing, confirmed.id, shown(confirmed.not_after))
        return Response(msgspec.json.encode(answer), media_type=_JSON)

    async def roots(self, request: Incoming) -> Response:
        """200: it is kept which roots the device believes."""
        caller = await self._prove(request, ROOTS)
        payload = _parse_payload(caller, _roots_payload)
        await self._authority.note_roots(caller, RootSet(payload.roots))
        return Response(msgspec.json.encode(payload), media_type=_JSON)

    async def _note(self, caller: SignedCaller, roots: str | None) -> None:
        """In passing: what was asked for is done by now, and answered whatever comes of this."""
        if roots is not None:
            with suppress(KeybornError):
                await self._authority.note_roots(caller, RootSet(roots))

    async def _prove(self, request: Incoming, path: str) -> SignedCaller:
        """Limits first, then the signature; the payload is parsed for who has proved something."""
        raw = await guards.read_body(request)
        if not is_signed(request):
            raise JwsMalformed(detail="its Content-Type is another one")
        return await self._authority.authenticate(
            raw, addresses(request, self._url(), path), source_of(request)
        )

    def _with_nonce(self, act: Act) -> Act:
        return with_nonce(act, self._authority.nonce)


def is_signed(request: Incoming) -> bool:
    """Whether the body says of itself that it is a JWS."""
    declared = (header(request, b"content-type") or [""])[0]
    return declared.partition(";")[0].strip().lower() == MEDIA_TYPE


def addresses(request: Incoming, url: str, path: str) -> list[str]:
    """Under which URLs a route may be known: as the codes say, and as the request was addressed.

    The path is what matters, so that no request serves for another route; a nonce of ours, which is
    signed too, says that it was meant for this service, under whichever of its names.
    """
    hosts = header(request, b"host")
    named = [f"https://{host}{path}" for host in hosts] if len(hosts) == 1 else []
    return [f"{url.rstrip('/')}{path}", *named]


def with_nonce(act: Act, nonce: Callable[[], Awaitable[str]]) -> Act:
    """``act``, each of whose answers, refusals included, brings the nonce for the next request."""

    async def _answer(request: Incoming) -> Response:
        try:
            response = await act(request)
        except KeybornError as refusal:
            response = problems.answer_problem(refusal)
        response.headers.update(_once(await nonce()))
        return response

    return _answer


def _once(nonce: str) -> dict[str, str]:
    """A nonce is for one reader: no cache may keep it (RFC 8555, 7.2)."""
    return {REPLAY_NONCE: nonce, "Cache-Control": "no-store"}


def _parse_payload(caller: SignedCaller, decoder: msgspec.json.Decoder[Payload]) -> Payload:
    try:
        return guards.parse_json(caller.payload, decoder)
    except MalformedRequest as wrong:
        raise JwsMalformed(detail=f"its payload: {wrong.facts['detail']}") from None
