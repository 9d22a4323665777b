"""Keys that are announced before their devices come: a million, a thousand at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import GroupUnknown, NotRegistered
from keyborn.domain.names import (
    GroupName,
    KeyHash,
    ThingName,
    parse_group_name,
    parse_key_hash,
    parse_thing_name,
)
from keyborn.domain.registered import Registered, RegisteredKey
from keyborn.ports import MAX_PAGE, Clock, Groups, RegisteredKeys, RegisteredList


@dataclass(frozen=True, slots=True)
class RegisteredPorts:
    """Whom the office asks; all of it one registry, usually."""

    groups: Groups
    keys: RegisteredKeys
    listing: RegisteredList


class RegisteredOffice:
    """Takes announcements, shows them, and takes them back."""

    def __init__(
        self, ports: RegisteredPorts, *, clock: Clock, reserved: frozenset[str] = frozenset()
    ) -> None:
        """``reserved``: names that no thing may have."""
        self._ports = ports
        self._clock = clock
        self._reserved = reserved

    async def register(
        self, group: str, rows: Sequence[tuple[str, str]], *, actor: str = "operator"
    ) -> Registered:
        """Announce at most ``MAX_PAGE`` names and key hashes; a repeat changes nothing.

        Raises GroupUnknown, and InvalidThingName, ReservedThingName or InvalidKeyHash before anything is
        written.
        """
        name = await self._known(group)
        keys = [
            RegisteredKey(parse_key_hash(key), parse_thing_name(thing, reserved=self._reserved), name)
            for thing, key in rows
        ]
        event = AuditEvent(
            self._clock.now(), "registered.import", "done", name, actor, details={"keys": str(len(keys))}
        )
        return await self._ports.keys.register(keys, event)

    async def page(
        self, group: str, *, after: KeyHash | None = None, limit: int = 100
    ) -> Sequence[RegisteredKey]:
        """A page of a group's keys, by hash."""
        return await self._ports.listing.registered_in(parse_group_name(group), after=after, limit=limit)

    async def find(self, key: str) -> RegisteredKey:
        """What is announced of a key; raises NotFound."""
        wanted = parse_key_hash(key)
        found = await self._ports.keys.registered(wanted)
        if found is None:
            raise NotRegistered(key=wanted)
        return found

    async def named(self, group: str, thing: str) -> list[RegisteredKey]:
        """What is announced for a name, by looking through the group's keys; raises NotFound.

        Keys are found by their hash; a name is asked for by a person, now and then.
        """
        of, wanted = parse_group_name(group), ThingName(thing)
        found: list[RegisteredKey] = []
        after: KeyHash | None = None
        while page := await self._ports.listing.registered_in(of, after=after, limit=MAX_PAGE):
            found += [one for one in page if one.thing == wanted]
            after = page[-1].key_hash
        if not found:
            raise NotRegistered(key=ascii(thing[:64]))
        return found

    async def remove(self, key: str, *, actor: str = "operator") -> RegisteredKey:
        """Take an announcement back; what has enrolled with it stays. Raises NotFound."""
        found = await self.find(key)
        event = AuditEvent(
            self._clock.now(),
            "registered.remove",
            "done",
            found.thing,
            actor,
            details={"group": found.group, "keyHash": found.key_hash},
        )
        await self._ports.keys.unregister(found.key_hash, event)
        return found

    async def _known(self, group: str) -> GroupName:
        name = parse_group_name(group)
        if await self._ports.groups.group(name) is None:
            raise GroupUnknown(group=name)
        return name
