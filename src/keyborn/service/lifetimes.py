"""How long the next certificate of a thing lives: as its group says today, else as the service does."""

from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from keyborn.domain.group_file import read_group
from keyborn.domain.names import ThingName
from keyborn.domain.profile import CertificateProfile
from keyborn.ports import Fleet, Groups


class Lifetimes(Protocol):
    """Who knows of lifetimes other than the service's own."""

    async def of(self, thing: ThingName) -> timedelta | None:
        """The lifetime of the thing's next certificate; None: the service's own."""
        ...


class GroupLifetimes:
    """Implements ``Lifetimes``: asks the thing's group, as it is now, whatever it was when it enrolled."""

    def __init__(self, fleet: Fleet, groups: Groups) -> None:
        self._fleet = fleet
        self._groups = groups

    async def of(self, thing: ThingName) -> timedelta | None:
        """See ``Lifetimes.of``. A group that was removed, or cannot be read, says nothing."""
        known = await self._fleet.thing(thing)
        if known is None or known.group is None:
            return None
        document = await self._groups.group(known.group)
        group = None if document is None else read_group(document)
        return None if group is None else group.lifetime


async def profile_of(
    thing: ThingName, profile: CertificateProfile, lifetimes: Lifetimes | None
) -> CertificateProfile:
    """The service's profile, with the thing's own lifetime in it."""
    own = None if lifetimes is None else await lifetimes.of(thing)
    return profile if own is None else replace(profile, lifetime=own)
