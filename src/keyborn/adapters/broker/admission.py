"""Who may come in, and with what rights: certificate, record, policies, client id, will.

Asked of the registry once per connection, and again now and then while the connection is open.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import PRETENDS, pretends
from keyborn.adapters.broker.packets import V5, Connect, Prop, Reason, Refused311, Will
from keyborn.adapters.broker.properties import number
from keyborn.adapters.broker.refusals import LOG
from keyborn.adapters.broker.topics import size_fault, topic_fault
from keyborn.domain.access import (
    Action,
    Badge,
    Circumstances,
    ConnectAttribute,
    Principal,
    RightsOf,
)
from keyborn.domain.certificate import Certificate
from keyborn.domain.errors import KeybornError, NotFound
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import ThingStatus
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
    """A connection that may be, and on what that rests."""

    principal: Principal
    certificate: Certificate
    circumstances: Circumstances
    first: bool
    """Nobody has connected with this certificate before: its predecessor ends by that."""


class _News:
    """What the registry has changed while somebody was asking it; nothing is remembered in between."""

    def __init__(self) -> None:
        self._count = 0
        self._asking = 0
        self._of_all = 0
        self._of: dict[ThingName, int] = {}

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Remember news until the last one who asks has been answered."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._of.clear()

    def now(self) -> int:
        """A mark to compare with."""
        return self._count

    def arrived(self, things: Collection[ThingName] | None) -> None:
        """Something has changed about ``things``, or about all."""
        self._count += 1
        if things is None:
            self._of_all = self._count
        elif self._asking:
            self._of.update(dict.fromkeys(things, self._count))

    def since(self, mark: int, thing: ThingName) -> bool:
        """Whether something has changed about ``thing`` after ``mark``."""
        return max(self._of_all, self._of.get(thing, 0)) > mark


class Doorkeeper:
    """Asks the directory and the gate.

    A thing that is evicted while its badge is being read must not slip in on the older answer: ``evicted`` is
    told, and such an admission is refused; the client tries again and meets the new state. Where policies
    have changed, ``reviewed`` is told, and whoever is being admitted is asked about again.
    """

    def __init__(
        self, directory: DeviceDirectory, gate: Gate, clock: Clock, limits: Limits, rights_of: RightsOf
    ) -> None:
        self._directory = directory
        self._gate = gate
        self._clock = clock
        self._limits = limits
        self._rights_of = rights_of
        self._evictions = _News()
        self._reviews = _News()

    def evicted(self, thing: ThingName) -> None:
        """Whatever the directory has said about ``thing`` before now no longer counts."""
        self._evictions.arrived([thing])

    def reviewed(self, things: Collection[ThingName] | None) -> None:
        """Badges of ``things`` (None: of all) that were read before now are to be read again."""
        self._reviews.arrived(things)

    async def admit(self, certificate: CertificateId, connect: Connect, peer: str) -> Admitted:
        """Decide; raises Refused. Records the first connection before the client hears of success."""
        began = self._evictions.now()
        try:
            with self._evictions.asking(), self._reviews.asking():
                async with asyncio.timeout(self._limits.admission_seconds):
                    admitted = await self._admit_as_of_now(certificate, connect, peer)
                thing = admitted.principal.thing
                if self._evictions.since(began, thing):
                    raise Refused(Reason.SERVER_UNAVAILABLE, "evicted while connecting", thing=thing)
                return admitted
        except (TimeoutError, KeybornError) as error:
            raise _unavailable(error) from error

    async def renewed(self, certificate: CertificateId, circumstances: Circumstances) -> Principal | None:
        """Who an open session acts as from now on; None if the directory does not answer. Raises Refused."""
        with self._reviews.asking():
            while True:
                asked = self._reviews.now()
                try:
                    badge = await self.badge(certificate)
                except Exception as error:  # noqa: BLE001 - no fault of the registry ends an open session
                    LOG.warning("certificate %s could not be looked up again: %r", certificate, error)
                    return None
                if badge is None or not self._reviews.since(asked, badge.thing.name):
                    return self.bind(badge, circumstances)

    async def badge(self, certificate: CertificateId) -> Badge | None:
        """Ask the directory, but not for ever: raises TimeoutError and KeybornError."""
        async with asyncio.timeout(self._limits.admission_seconds):
            return await self._directory.badge(certificate)

    def bind(self, badge: Badge | None, circumstances: Circumstances, *, live: bool = True) -> Principal:
        """Who acts, with what rights; raises Refused for a badge that is no good, or no longer.

        ``live`` asks for a certificate that may be used now. A waiting session may outlast its certificate:
        the device renews, and shows a live one before it gets anything.
        """
        if badge is None:
            raise Refused(Reason.NOT_AUTHORIZED, "the registry does not know the certificate")
        thing = badge.thing
        if live:
            self._check_live(badge.certificate)
        if thing.status is ThingStatus.SUSPENDED or thing.status.is_gone:
            raise Refused(Reason.NOT_AUTHORIZED, f"the thing is {thing.status.value}", thing=thing.name)
        rights = self._rights_of(badge, circumstances)
        return Principal(badge.certificate.id, thing.name, rights, thing.kind)

    async def _admit_as_of_now(self, name: CertificateId, connect: Connect, peer: str) -> Admitted:
        while True:
            asked = self._reviews.now()
            admitted = await self._admit(name, connect, peer)
            if not self._reviews.since(asked, admitted.principal.thing):
                return admitted

    async def _admit(self, name: CertificateId, connect: Connect, peer: str) -> Admitted:
        badge = await self._directory.badge(name)
        circumstances = Circumstances(connect.client_id, asked_for(connect))
        principal = self.bind(badge, circumstances)
        assert badge is not None, "bind has refused it"
        self._check_client_id(connect.client_id, principal, peer)
        if Prop.AUTH_METHOD in connect.properties:
            raise Refused(Reason.BAD_AUTHENTICATION_METHOD, "extended authentication", thing=principal.thing)
        if connect.will is not None:
            self._check_will(connect.will, principal, peer)
        certificate = badge.certificate
        first = certificate.connected_at is None
        if first:
            certificate = await self._directory.connected(name, self._clock.now())
            self._check_live(certificate)
        return Admitted(principal, certificate, circumstances, first)

    def _check_live(self, certificate: Certificate) -> None:
        now = self._clock.now()
        if now < certificate.not_before:
            raise Refused(Reason.NOT_AUTHORIZED, "the certificate is not valid yet", thing=certificate.thing)
        if not certificate.live(now):
            state = "expired" if certificate.expired(now) else certificate.status.value
            raise Refused(Reason.NOT_AUTHORIZED, f"the certificate is {state}", thing=certificate.thing)

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
        if pretends(will.properties):
            raise Refused(Reason.NOT_AUTHORIZED, f"the will: {PRETENDS}", thing=principal.thing)
        denied = will.topic.startswith("$") or not self._gate.may_publish(
            principal, will.topic, retain=will.retain, peer=peer
        )
        if denied:
            raise Refused(Reason.NOT_AUTHORIZED, "the will's topic is denied", thing=principal.thing)


def asked_for(connect: Connect) -> frozenset[ConnectAttribute]:
    """What a CONNECT asks for beyond a plain connection.

    A persistent session is one that outlives its connection: clean session 0 on MQTT 3.1.1, a session expiry
    above 0 on MQTT 5. Source: AWS IoT Core Developer Guide, "Using connectAttributes".
    """
    attributes = set()
    if connect.will is not None:
        attributes.add(ConnectAttribute.WILL)
    lasting = number(connect.properties, Prop.SESSION_EXPIRY, 0) > 0
    if lasting if connect.version == V5 else not connect.clean_start:
        attributes.add(ConnectAttribute.PERSISTENT)
    return frozenset(attributes)


def _unavailable(error: Exception) -> Refused:
    if isinstance(error, NotFound):
        return Refused(Reason.NOT_AUTHORIZED, "the registry no longer knows the certificate")
    return Refused(Reason.SERVER_UNAVAILABLE, f"the registry did not answer: {error!r}")
