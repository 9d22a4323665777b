"""AWS IoT as the certificate authority: it chooses dates and serial, and publishes no issuer."""

import asyncio
from typing import Protocol

from keyborn.adapters.aws.iot import Iot, aside
from keyborn.adapters.aws.table import Flight
from keyborn.domain.errors import KeybornError, ThingNameTaken
from keyborn.domain.intent import Intent
from keyborn.domain.issuance import ApprovedRequest

_SOMEBODY = "a thing in this AWS account that was not made by this stack"
_REMEDY = ", or ask the operator to remove that thing."


class FlightKeeper(Protocol):
    """Who knows what is under way: ``AwsRegistry``."""

    async def under_way(self, intent: Intent) -> Flight:
        """The record and the stored certificate of an open intent; raises EnrollmentInterrupted."""
        ...

    async def give_up(self, intent: Intent) -> None:
        """The attempt failed: the next one need not wait for its lease. Raises nothing."""
        ...


class IotAuthority:
    """Implements ``keyborn.ports.CertificateAuthority``: CreateCertificateFromCsr beside CreateThing.

    What an earlier attempt has signed and stored is not signed again: of the account's quotas this one is
    small. A certificate whose answer is lost stays inactive, and the sweeper finds it by its key.
    """

    def __init__(self, iot: Iot, flights: FlightKeeper, *, roots_pem: str) -> None:
        """``roots_pem``: what devices trust for the service and for the broker, the newest first."""
        self._iot = iot
        self._flights = flights
        self._roots = roots_pem

    async def issue(self, approved: ApprovedRequest) -> bytes:
        """Sign, and make the thing; returns the leaf's DER. Raises TypeError, and leaves of Unavailable."""
        if type(approved) is not ApprovedRequest:
            raise TypeError("a certificate authority signs an ApprovedRequest and nothing else")
        try:
            return await self._issue(approved)
        except KeybornError:
            await self._flights.give_up(approved.intent)
            raise

    async def _issue(self, approved: ApprovedRequest) -> bytes:
        flight = await self._flights.under_way(approved.intent)
        made = aside(self._iot.create_thing, flight.thing)
        if flight.staged is not None:
            await made
            return flight.staged.der
        signed = aside(self._iot.sign, approved.csr_pem)
        der, thing = await asyncio.gather(signed, made, return_exceptions=True)
        if isinstance(thing, BaseException):
            raise thing
        if isinstance(der, BaseException):
            raise der
        if flight.unheard_of and not thing:
            # Of another system, or another stack: its groups' policies and its client id would come with it.
            raise ThingNameTaken(name=flight.thing.name, owner=_SOMEBODY, otherwise=_REMEDY)
        return der

    def chain_pem(self, der: bytes | None = None) -> str:  # noqa: ARG002 - it is the same for all
        """Nothing: AWS IoT publishes no intermediate for these certificates."""
        return ""

    def roots_pem(self) -> str:
        """The roots given at the start."""
        return self._roots
