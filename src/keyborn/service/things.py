"""Suspend, activate, revoke, retire: the registry first, then whatever is open (design PROTOCOL).

The registry's change is one durable effect, so new connections are refused from then on; closing the open
session, without its will, and purging what it left on the broker follow before the operator gets the answer.
A crash in between ends the broker too, which reads the registry again when it starts.
"""

from dataclasses import dataclass

from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import CertificateNotHeld, InvalidSetting, KindMismatch, NotFound, SessionLeftOpen
from keyborn.domain.names import CertificateId, ThingName, is_certificate_id
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.ports import Clock, DeviceDirectory, Fleet, Lifecycle, Sessions

MAX_REASON = 256
_VERBS = {
    ThingStatus.SUSPENDED: "suspend",
    ThingStatus.ACTIVE: "activate",
    ThingStatus.REVOKED: "revoke",
    ThingStatus.RETIRED: "retire",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What the operator wants: a thing, by name or by a certificate it holds, moved to a status."""

    name: str
    status: ThingStatus
    kind: ThingKind = ThingKind.DEVICE
    reason: str = ""
    """For the audit trail: at most ``MAX_REASON`` printable characters."""

    def __post_init__(self) -> None:
        """Raise InvalidSetting for a reason that does not belong into a record."""
        if len(self.reason) > MAX_REASON or not self.reason.isprintable():
            detail = f"it takes at most {MAX_REASON} printable characters, on one line"
            raise InvalidSetting(setting="--reason", detail=detail)


@dataclass(frozen=True, slots=True)
class Done:
    """A thing after an order, and how many open sessions it lost."""

    thing: Thing
    closed: int
    left_open: SessionLeftOpen | None = None
    """Why a session may go on for minutes, although the thing is barred: the order stands all the same."""


class ThingOffice:
    """Takes away and gives back."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        directory: DeviceDirectory,
        lifecycle: Lifecycle,
        sessions: Sessions | None,
        clock: Clock,
    ) -> None:
        """``sessions`` is None where no broker runs: then nothing is open."""
        self._fleet = fleet
        self._directory = directory
        self._lifecycle = lifecycle
        self._sessions = sessions
        self._clock = clock

    async def carry_out(self, order: Order, *, actor: str = "operator") -> Done:
        """Move the thing, then end its sessions; repeating an order is harmless, and ends them again.

        Raises NotFound, KindMismatch, CertificateNotHeld, and ThingRevoked for what cannot be undone.
        """
        thing, certificate = await self._find(order.name)
        require_kind(thing, order.kind)
        details = {"reason": order.reason} if order.reason else {}
        if certificate is not None:
            details["certificateId"] = certificate.id
        verb = f"{'service' if order.kind is ThingKind.SERVICE else 'thing'}.{_VERBS[order.status]}"
        event = AuditEvent(self._clock.now(), verb, "done", thing.name, actor, details=details)
        moved = await self._lifecycle.set_status(thing.name, order.status, event)
        if order.status is ThingStatus.ACTIVE or self._sessions is None:
            return Done(moved, 0)
        try:
            return Done(moved, await self._sessions.evict(moved.name, f"the operator says {moved.status}"))
        except SessionLeftOpen as left:
            return Done(moved, 0, left)

    async def _find(self, name: str) -> tuple[Thing, Certificate | None]:
        """A thing by a certificate that it holds, else by name.

        The certificate comes first where both fit: a device that chose somebody's certificate id as its name
        must not catch the order that is meant for that certificate.
        """
        if is_certificate_id(name):
            certificate = await self._directory.certificate(CertificateId(name))
            if certificate is not None:
                return await self._holder(certificate), certificate
        return await self._known(name), None

    async def _known(self, name: str) -> Thing:
        thing = await self._fleet.thing(ThingName(name))
        if thing is None:
            raise NotFound(what="thing", name=ascii(name[:64]))
        return thing

    async def _holder(self, certificate: Certificate) -> Thing:
        thing = await self._known(certificate.thing)
        if certificate.status is CertificateStatus.REVOKED and not thing.status.is_gone:
            raise CertificateNotHeld(status=certificate.status.value, thing=thing.name)
        return thing


def require_kind(thing: Thing, wanted: ThingKind) -> None:
    """Raise KindMismatch where a device is named and a service meant, or the other way round."""
    if thing.kind is not wanted:
        noun = "service" if thing.kind is ThingKind.SERVICE else "thing"
        raise KindMismatch(name=thing.name, kind=thing.kind.value, wanted=wanted.value, noun=noun)
