"""What an operator changes of a thing's record: whether another key may come, its group, its attributes."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from keyborn.domain.attributes import parse_attributes
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting, MalformedRequest, NotFound
from keyborn.domain.moment import shown
from keyborn.domain.names import ThingName, parse_group_name
from keyborn.domain.thing import Thing, ThingKind
from keyborn.ports import Clock, Fleet, Regrouping, Sessions
from keyborn.service.things import require_kind

MAX_RELEASE = timedelta(days=7)
_SHOWN = 256


class RegroupOffice:
    """Changes records of devices; each change is recorded with who made it, and what it was."""

    def __init__(
        self, *, fleet: Fleet, regrouping: Regrouping, sessions: Sessions | None, clock: Clock
    ) -> None:
        """``sessions`` is None where no broker runs: policies may depend on attributes."""
        self._fleet = fleet
        self._regrouping = regrouping
        self._sessions = sessions
        self._clock = clock

    async def release(self, name: str, span: timedelta | None, *, actor: str = "operator") -> Thing:
        """Let whoever may enrol under the name bring another key, once, for ``span`` from now; None ends it.

        Raises NotFound, KindMismatch, ThingRevoked for what is gone, and InvalidSetting for a span that is
        not within one second and seven days.
        """
        if span is not None and not timedelta(seconds=1) <= span <= MAX_RELEASE:
            detail = f"it takes one second to {MAX_RELEASE.days} days, such as 1h or 2d"
            raise InvalidSetting(setting="--for", detail=detail)
        thing = await self._device(name)
        now = self._clock.now()
        until = None if span is None else now + span
        details = {"keyHash": thing.key_hash} | ({"until": shown(until)} if until is not None else {})
        event = AuditEvent(now, "thing.release-key", "done", thing.name, actor, details=details)
        return await self._regrouping.set_release(thing.name, until, event)

    async def move(self, name: str, group: str | None, *, actor: str = "operator") -> Thing:
        """Put a thing under another group's rule, or under none.

        Raises NotFound for either, KindMismatch, InvalidGroupName.
        """
        thing = await self._device(name)
        wanted = None if group is None else parse_group_name(group)
        details = {"from": thing.group or "none", "to": wanted or "none"}
        event = AuditEvent(self._clock.now(), "thing.move", "done", thing.name, actor, details=details)
        return await self._regrouping.set_group(thing.name, wanted, event)

    async def set_attributes(
        self, name: str, given: Mapping[str, str], gone: Collection[str] = (), *, actor: str = "operator"
    ) -> Thing:
        """Set attributes and take others away; the rest stay. In force on every open session.

        Raises NotFound for the thing, or for an attribute to take away that it does not have, KindMismatch,
        and InvalidSetting.
        """
        thing = await self._device(name)
        wanted = _merged(thing, given, gone)
        details = {"set": _listed(given), "unset": ", ".join(gone)[:_SHOWN]}
        details = {key: words for key, words in details.items() if words}
        event = AuditEvent(self._clock.now(), "thing.set", "done", thing.name, actor, details=details)
        changed = await self._regrouping.set_attributes(thing.name, wanted, event)
        if self._sessions is not None:
            await self._sessions.review([changed.name])
        return changed

    async def _device(self, name: str) -> Thing:
        thing = await self._fleet.thing(ThingName(name))
        if thing is None:
            raise NotFound(what="thing", name=ascii(name[:64]))
        require_kind(thing, ThingKind.DEVICE)
        return thing


def _merged(thing: Thing, given: Mapping[str, str], gone: Collection[str]) -> dict[str, str]:
    if both := given.keys() & set(gone):
        raise InvalidSetting(setting="--unset", detail=f"{min(both)[:128]!a} is set and taken away at once")
    for name in gone:
        if name not in thing.attributes:
            raise InvalidSetting(setting="--unset", detail=f"the thing has no {name[:128]!a}")
    kept = {name: value for name, value in thing.attributes.items() if name not in gone}
    try:
        return parse_attributes({**kept, **given})
    except MalformedRequest as wrong:
        raise InvalidSetting(setting="attributes", detail=str(wrong.facts["detail"])) from None


def _listed(given: Mapping[str, str]) -> str:
    """``line=7, hall=2``, cut."""
    return ", ".join(f"{name}={value}" for name, value in given.items())[:_SHOWN]
