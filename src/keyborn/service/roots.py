"""Who believes which roots: what an operator looks at while a new root takes the place of an old one."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyborn.domain.names import ThingName
from keyborn.domain.roots import Belief, RootSet
from keyborn.ports import Beliefs


@dataclass(frozen=True, slots=True)
class RootsReport:
    """Things by the set that they believe; those that are revoked, retired or only claimed do not count."""

    newest: RootSet
    """What the service shows now."""
    sets: Sequence[tuple[RootSet | None, int]]
    """The newest first, who never said last."""

    @property
    def lacking(self) -> int:
        """How many things do not believe the newest set, or never said."""
        return sum(count for roots, count in self.sets if roots != self.newest)


class RootsOffice:
    """Questions an operator asks."""

    def __init__(self, beliefs: Beliefs, newest: RootSet) -> None:
        """``newest``: the set that the service's trust bundle is."""
        self._beliefs = beliefs
        self._newest = newest

    async def report(self) -> RootsReport:
        """How many things have which set."""
        sets = await self._beliefs.root_sets()
        order = {self._newest: 0, None: 2}
        return RootsReport(
            self._newest, sorted(sets, key=lambda one: (order.get(one[0], 1), -one[1], one[0] or ""))
        )

    async def lacking(self, *, after: str | None = None, limit: int = 100) -> Sequence[Belief]:
        """A page of those that do not believe the newest set, by name."""
        return await self._beliefs.lacking(
            self._newest, after=ThingName(after) if after else None, limit=limit
        )

    async def of(self, name: ThingName) -> Belief:
        """What one thing believes."""
        return await self._beliefs.belief(name)

    def is_newest(self, belief: Belief) -> bool:
        """Whether it is what the service shows now."""
        return belief.roots == self._newest
