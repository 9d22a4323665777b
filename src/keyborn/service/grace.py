"""Grace: an operator lets a device renew although its certificate has expired, for a limited time."""

from datetime import timedelta

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting, NotFound
from keyborn.domain.moment import shown
from keyborn.domain.names import ThingName
from keyborn.domain.renewal import MAX_GRACE
from keyborn.domain.thing import Thing, ThingKind
from keyborn.ports import Clock, Fleet, Grace
from keyborn.service.things import require_kind


class GraceOffice:
    """Grants grace, and ends it."""

    def __init__(self, *, fleet: Fleet, grace: Grace, clock: Clock) -> None:
        self._fleet = fleet
        self._grace = grace
        self._clock = clock

    async def grant(self, name: str, span: timedelta | None, *, actor: str = "operator") -> Thing:
        """Let a device renew for ``span`` from now, whatever it had before; None ends it.

        Raises NotFound, KindMismatch, ThingRevoked for what is gone, and InvalidSetting for a span that is
        not within one second and thirty days.
        """
        if span is not None and not timedelta(seconds=1) <= span <= MAX_GRACE:
            detail = f"it takes one second to {MAX_GRACE.days} days, such as 12h or 7d"
            raise InvalidSetting(setting="--for", detail=detail)
        thing = await self._fleet.thing(ThingName(name))
        if thing is None:
            raise NotFound(what="thing", name=ascii(name[:64]))
        require_kind(thing, ThingKind.DEVICE)
        now = self._clock.now()
        until = None if span is None else now + span
        details = {"until": shown(until)} if until is not None else {}
        event = AuditEvent(now, "thing.grace", "done", thing.name, actor, details=details)
        return await self._grace.set_grace(thing.name, until, event)
