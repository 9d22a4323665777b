"""Who may come in: certificate, client id, rules, will; asked of the registry once per connection."""

import asyncio
from dataclasses import dataclass

from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.packets import Connect, Prop, Reason, Refused311, Will
from keyborn.adapters.broker.refusals import LOG
from keyborn.adapters.broker.topics import size_fault, topic_fault
from keyborn.domain.access import Action, Principal
from keyborn.domain.certificate import Certificate
from keyborn.domain.errors import KeybornError, NotFound
from keyborn.domain.names import CertificateId, ThingName
from keyborn.ports import Clock, DeviceDirectory

_RETURN_CODES = {
    Reason.CLIENT_ID_NOT_VALID: Refused311.IDENTIFIER_REJECTED,
    Reason.SERVER_UNAVAILABLE: Refused311.SERVER_UNAVAILABLE,
    Reason.QUOTA_EXCEEDED: Refused311.SERVER_UNAVAILABLE,
}


class Refused(Exception):
    """A connection that may not be. ``reason`` is MQTT 5's; ``logged`` if the log says it already."""

    def __init__(
        self, reason: Reason, why: str, *, thing: ThingName | None = None, logged: bool = False
    ) -> None:
        self.reason = reason
        self.why = why
        self.thing = thing
        self.logged = logged
        super().__init__(why)

    @property
    def return_code(self) -> int:
        """The same for MQTT 3.1.1."""
        return _RETURN_CODES.get(self.reason, Refused311.NOT_AUTHORIZED)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A connection that may be, and the certificate on which that rests."""

    principal: Principal
    certificate: Certificate


class Doorkeeper:
    """Asks the directory and the gate.

    A thing that is evicted while its certificate is being looked up must not slip in on the older answer:
    ``evicted`` is told, and such an admission is refused; the client tries again and meets the new state.
    """

    def __init__(self, directory: DeviceDirectory, gate: Gate, clock: Clock, limits: Limits) -> None:
        self._directory = directory
        self._gate = gate
        self._clock = clock
        self._limits = limits
        self._epoch = 0
        self._evicted: dict[ThingName, int] = {}
        self._asking = 0

    def evicted(self, thing: ThingName) -> None:
        """Whatever the directory has said about ``thing`` before now no longer counts."""
        self._epoch += 1
        if self._asking:
            self._evicted[thing] = self._epoch

    async def admit(self, certificate: CertificateId, connect: Connect, peer: str) -> Admitted:
        """Decide; raises Refused. Records the first connection before the client hears of success."""
        epoch = self._epoch
        self._asking += 1
        try:
            async with asyncio.timeout(self._limits.admission_seconds):
                admitted = await self._admit(certificate, connect, peer)
            thing = admitted.principal.thing
            if self._evicted.get(thing, 0) > epoch:
                raise Refused(Reason.SERVER_UNAVAILABLE, "evicted while connecting", thing=thing)
        except (TimeoutError, KeybornError) as error:
            raise _unavailable(error) from error
        else:
            return admitted
        finally:
            self._asking -= 1
            if not self._asking:
                self._evicted.clear()

    async def still_live(self, certificate: CertificateId) -> bool:
        """Whether an open session's certificate is still good; yes while the directory does not answer."""
        try:
            async with asyncio.timeout(self._limits.admission_seconds):
                found = await self._directory.certificate(certificate)
        except (TimeoutError, KeybornError) as error:
            LOG.warning("certificate %s could not be looked up again: %r", certificate, error)
            return True
        return found is not None and found.live(self._clock.now())

    async def _admit(self, name: CertificateId, connect: Connect, peer: str) -> Admitted:
        certificate = self._live(await self._directory.certificate(name))
        principal = Principal(name, certificate.thing)
        self._check_client_id(connect.client_id, principal, peer)
        if Prop.AUTH_METHOD in connect.properties:
            raise Refused(
                Reason.BAD_AUTHENTICATION_METHOD, "extended authentication", thing=certificate.thing
            )
        if connect.will is not None:
            self._check_will(connect.will, principal, peer)
        if certificate.connected_at is None:
            certificate = self._live(await self._directory.connected(name, self._clock.now()))
        return Admitted(principal, certificate)

    def _live(self, certificate: Certificate | None) -> Certificate:
        if certificate is None:
            raise Refused(Reason.NOT_AUTHORIZED, "the registry does not know the certificate")
        now = self._clock.now()
        if now < certificate.not_before:
            raise Refused(Reason.NOT_AUTHORIZED, "the certificate is not valid yet", thing=certificate.thing)
        if not certificate.live(now):
            state = "expired" if certificate.expired(now) else certificate.status.value
            raise Refused(Reason.NOT_AUTHORIZED, f"the certificate is {state}", thing=certificate.thing)
        return certificate

    def _check_client_id(self, client_id: str, principal: Principal, peer: str) -> None:
        if not client_id:
            raise Refused(Reason.CLIENT_ID_NOT_VALID, "the client id is empty", thing=principal.thing)
        if len(client_id.encode()) > self._limits.client_id_bytes:
            raise Refused(Reason.CLIENT_ID_NOT_VALID, "the client id is too long", thing=principal.thing)
        if not self._gate.allows(principal, Action.CONNECT, client_id, peer=peer):
            raise Refused(Reason.NOT_AUTHORIZED, "client id", thing=principal.thing, logged=True)

    def _check_will(self, will: Will, principal: Principal, peer: str) -> None:
        limits = self._limits
        if will.qos > 1:
            raise Refused(Reason.QOS_NOT_SUPPORTED, "a will at QoS 2", thing=principal.thing)
        if len(will.payload) > limits.payload:
            raise Refused(Reason.PACKET_TOO_LARGE, "the will is too large", thing=principal.thing)
        fault = topic_fault(will.topic) or size_fault(will.topic, limits)
        if fault:
            raise Refused(Reason.TOPIC_NAME_INVALID, f"the will: {fault}", thing=principal.thing)
        denied = will.topic.startswith("$") or not self._gate.may_publish(
            principal, will.topic, retain=will.retain, peer=peer
        )
        if denied:
            raise Refused(Reason.NOT_AUTHORIZED, "the will's topic is denied", thing=principal.thing)


def _unavailable(error: Exception) -> Refused:
    if isinstance(error, NotFound):
        return Refused(Reason.NOT_AUTHORIZED, "the registry no longer knows the certificate")
    return Refused(Reason.SERVER_UNAVAILABLE, f"the registry did not answer: {error!r}")
